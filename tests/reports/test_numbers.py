"""How numbers and settings are written for people."""

from __future__ import annotations

from reports.numbers import setting


def test_a_setting_of_several_parts_is_said_in_words() -> None:
    parts = [{"level": "L2", "name": "countdown"}, {"level": "W2", "name": "words", "share": 0.25}, {"name": "sudoku"}]
    assert setting(parts) == "countdown level L2, words level W2 share 0.25, sudoku"
    assert [setting(value) for value in (0.00123456, 3, "q_proj,v_proj", None)] == [
        "0.00123",
        "3",
        "q_proj,v_proj",
        "None",
    ]
