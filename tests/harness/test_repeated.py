"""Several answers to one question, and the one that is given."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from harness.contracts import Completion, Grade, Repeated
from harness.evaluate import _chosen
from tests.conftest import make_spec, run_to_end


def answer(text: str, reward: float, parsed: str | None) -> tuple[Completion, Grade]:
    return Completion(text, [1], [0.0], False), Grade(reward == 1, reward, parsed is not None, "", parsed)


ANSWERS = [
    answer("first", 0.0, None),
    answer("x: 7", 0.0, "7"),
    answer("y: 8", 1.0, "8"),
    answer("z: 7", 0.0, "7"),
    answer("again", 0.0, None),
    answer("last", 0.0, None),
]


def test_the_commonest_parsed_answer_wins_and_its_first_text_is_given() -> None:
    chosen, _ = _chosen(ANSWERS, Repeated(6, 1.0, "majority"))
    assert chosen.text == "x: 7"
    assert _chosen(ANSWERS[:1], Repeated(1, 1.0, "majority"))[0].text == "first"


def test_the_best_answer_is_that_of_the_highest_reward() -> None:
    assert _chosen(ANSWERS, Repeated(6, 1.0, "best"))[0].text == "y: 8"


def test_more_tries_solve_more_and_cost_more(tmp_path: Path) -> None:
    def run(samples: int) -> tuple[float, float]:
        spec = make_spec("best-of-n", samples=samples)
        spec = spec.model_copy(update={"evaluation": spec.evaluation.model_copy(update={"items": 15})})
        score = run_to_end(spec, tmp_path).read_result().score
        return score.accuracy, score.tokens_per_completion

    few, many = run(2), run(16)
    assert many[0] > few[0] and many[1] == pytest.approx(8 * few[1], rel=0.5)


def test_the_answer_given_is_one_that_was_graded(tmp_path: Path) -> None:
    directory = run_to_end(make_spec("majority-vote", samples=4), tmp_path)
    rows = pq.read_table(directory.samples).to_pylist()
    assert len(rows) == 6 and all(row["tokens"] >= 4 for row in rows)
