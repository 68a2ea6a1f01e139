"""Word problems as pre-training text: ranges, shares and form, and nothing that the task asks."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest

from tasks.corpus import Passage
from tasks.pool import split_of
from tasks.words.chain import Range, draw
from tasks.words.corpus import correct, probes, sample
from tests.tasks.problem_reader import read_chain


def parts(passage: Passage) -> tuple[str, list[tuple[int, str, int, int]], int]:
    """The problem, its worked steps (left, operator, right, value) and the answer."""
    problem = re.fullmatch(r"question: (.*)\nanswer:", passage.prompt)
    answer = re.fullmatch(r" (.*)\n#### ([0-9]+)", passage.answer)
    assert problem and answer
    steps = []
    for equation in answer[1].split("; "):
        left, operator, right, value = re.fullmatch(r"([0-9]+)([-+*/])([0-9]+)=([0-9]+)", equation).groups()
        steps.append((int(left), operator, int(right), int(value)))
    return problem[1], steps, int(answer[2])


def key(passage: Passage) -> str:
    _, steps, _ = parts(passage)
    return str(steps[0][0]) + "".join(f"{operator}{right}" for _, operator, right, _ in steps)


@pytest.fixture(scope="module")
def samples() -> list[Passage]:
    rng = random.Random("a test")
    return [sample(rng) for _ in range(4000)]


def test_answers_are_those_of_a_second_reading(samples: list[Passage]) -> None:
    for passage in samples + probes(500):
        problem, steps, answer = parts(passage)
        assert read_chain(problem) == answer == steps[-1][3]
        assert all(steps[i][3] == steps[i + 1][0] for i in range(len(steps) - 1))


def test_values_are_whole_numbers_from_1_to_100(samples: list[Passage]) -> None:
    values, starts = set(), set()
    for passage in samples:
        _, steps, _ = parts(passage)
        starts.add(steps[0][0])
        for left, operator, right, value in steps:
            values |= {left, value}
            assert 1 <= right <= 20 if operator in "+-" else 2 <= right <= 10
    assert starts == set(range(1, 21))
    assert min(values) == 1 and 90 < max(values) <= 100


def test_the_shares_of_steps_operators_and_sentences_beside_the_point(samples: list[Passage]) -> None:
    steps = Counter(len(parts(passage)[1]) for passage in samples)
    assert set(steps) == {1, 2, 3} and min(steps.values()) > 0.28 * len(samples)
    operators = Counter(step[1] for passage in samples for step in parts(passage)[1])
    assert set(operators) == set("+-*/") and min(operators.values()) > 0.18 * sum(operators.values())
    aside = re.compile(r"degrees outside|The bus takes|years old|\w+ has \d+ \w+ too")
    assert abs(sum(bool(aside.search(passage.prompt)) for passage in samples) / len(samples) - 0.25) < 0.03


def test_samples_are_of_the_pretrain_split_and_probes_of_val(samples: list[Passage]) -> None:
    assert {split_of("words", key(passage)) for passage in samples} == {"pretrain"}
    assert {split_of("words", key(passage)) for passage in probes(300)} == {"val"}


def test_the_rng_decides_and_probes_are_always_the_same() -> None:
    assert [sample(random.Random(3)) for _ in range(2)] == [sample(random.Random(3))] * 2
    assert sample(random.Random(3)) != sample(random.Random(4))
    assert probes(20)[:5] == probes(5)


def test_only_the_right_number_after_the_mark_answers_a_probe() -> None:
    probe = Passage("question: x\nanswer:", " 7+5=12\n#### 12")
    for completion, right in ((" 7+5=12\n#### 12", True), ("#### 12", True), ("#### 3\n#### 12", True)):
        assert correct(probe, completion) is right
    for completion in ("", "12", " 7+5=12", "#### 13", "#### 120", "#### 12\n#### 13", "####"):
        assert not correct(probe, completion)


@pytest.mark.parametrize("within", [Range((6, 6), 1, 1, 1), Range((6, 6), 3, 3, 4), Range((6, 6), 20, 20, 30)])
def test_values_stay_in_the_narrowest_range(within: Range) -> None:
    if within.limit == 1:
        with pytest.raises(IndexError):
            draw(random.Random(0), within)
        return
    rng = random.Random(1)
    for _ in range(500):
        values = draw(rng, within).values
        assert min(values) >= 1 and max(values) <= within.limit
