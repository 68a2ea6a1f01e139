"""Small symbol tasks described in words: the family that teaches a model to follow a description in its prompt.

A task is a selector ("the last two letters") composed with a mapping ("the next letter of the alphabet", or one of
five fixed ciphers), applied to six letters. `TRAIN` and `HELD_OUT` list the combinations; a held-out one has both its
parts seen elsewhere. `describe` phrases a task freely, `example` asks it with or without a description. Held out
from `sample` are combinations, phrasings and inputs; `probes` mixes them, or takes one `kind` of phrasing and task.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Literal, NamedTuple

from tasks.corpus import Passage, held_out

LETTERS = "abcdefghijklmnop"
LENGTH = 6
DESCRIBED_SHARE = 0.9

_SELECTORS: dict[str, tuple[tuple[int, ...], tuple[str, ...]]] = {
    "first": (
        (0,),
        (
            "the first letter",
            "the letter at the start",
            "the initial letter",
            "letter number one",
            "the leading letter",
        ),
    ),
    "second": (
        (1,),
        ("the second letter", "the letter after the first one", "letter number two", "the letter in second place"),
    ),
    "third": (
        (2,),
        ("the third letter", "letter number three", "the letter in third place", "the letter at position three"),
    ),
    "fourth": (
        (3,),
        ("the fourth letter", "letter number four", "the letter in fourth place", "the letter at position four"),
    ),
    "fifth": (
        (4,),
        ("the fifth letter", "letter number five", "the letter before the last one", "the letter in fifth place"),
    ),
    "last": (
        (5,),
        ("the last letter", "the letter at the end", "the final letter", "letter number six", "the closing letter"),
    ),
    "front": (
        (0, 1),
        ("the first two letters", "the two letters at the start", "the leading pair", "the opening two letters"),
    ),
    "back": (
        (4, 5),
        ("the last two letters", "the two letters at the end", "the closing pair", "the final two letters"),
    ),
    "ends": (
        (0, 5),
        ("the first and the last letter", "both ends", "the two outer letters", "the letters at both borders"),
    ),
    "middle": (
        (2, 3),
        (
            "the two middle letters",
            "the pair in the middle",
            "the central two letters",
            "the third and the fourth letter",
        ),
    ),
    "head": (
        (0, 1, 2),
        ("the first half", "the first three letters", "the three letters at the start", "the left half"),
    ),
    "tail": (
        (3, 4, 5),
        ("the second half", "the last three letters", "the three letters at the end", "the right half"),
    ),
    "odd": (
        (0, 2, 4),
        (
            "every other letter from the first",
            "the letters in odd places",
            "letters one, three and five",
            "all odd positions",
        ),
    ),
    "even": (
        (1, 3, 5),
        (
            "every other letter from the second",
            "the letters in even places",
            "letters two, four and six",
            "all even positions",
        ),
    ),
    "all": ((0, 1, 2, 3, 4, 5), ("all letters", "the whole line", "every letter", "all six letters in order")),
    "reversed": (
        (5, 4, 3, 2, 1, 0),
        ("all letters in reverse", "the line backwards", "the reversed line", "every letter from the end to the start"),
    ),
}
_CIPHER = (
    "translate {x} with the {c} table",
    "look up {x} in the {c} list",
    "write {x} in {c} code",
    "apply the {c} cipher to {x}",
    "use the {c} key on {x}",
)
_MAPPINGS: dict[str, tuple[str, ...]] = {
    "copy": (
        "copy {x}",
        "write {x} without change",
        "repeat {x} as given",
        "keep {x} as before",
        "give {x} with no change",
    ),
    "capital": (
        "write {x} in capitals",
        "turn {x} into capitals",
        "give {x} in upper case",
        "make {x} big",
        "change {x} to upper case",
    ),
    "next": (
        "replace {x} by what follows in the alphabet",
        "move {x} one step forward",
        "shift {x} up by one",
        "give the successor for {x}",
    ),
    "previous": (
        "replace {x} by what precedes in the alphabet",
        "move {x} one step back",
        "shift {x} down by one",
        "give the predecessor for {x}",
    ),
    "mirror": (
        "mirror {x} in the alphabet",
        "replace {x} by the mirror image",
        "flip {x} around the centre of the alphabet",
        "give the opposite for {x}",
    ),
    **{
        colour: tuple(p.replace("{c}", colour) for p in _CIPHER)
        for colour in ("red", "blue", "green", "silver", "golden")
    },
}
_FRAMES = (
    "{m:s}.",
    "take {s} and {m:it}.",
    "look at {s}, then {m:it}.",
    "{m:it}, where it stands for {s}.",
    "consider {s}. {m:it}.",
    "find {s}; {m:it}.",
    "only {s} counts: {m:it}.",
    "{m:this}, and this means {s}.",
)
_UNSEEN_FRAMES = ("find {s} and {m:this}.", "{m:it}, and it means {s}.", "consider only {s}, then {m:it}.")
_OPENINGS = (
    "",
    "",
    "",
    "please ",
    "your task: ",
    "the rule is this: ",
    "as always, ",
    "for each line below, ",
    "in this game, ",
    "with care, ",
    "now ",
    "here is what to do: ",
)
_CLOSINGS = (
    "",
    "",
    "",
    " nothing else.",
    " that is all.",
    " ignore the rest.",
    " the rest does not matter.",
    " write only the result.",
    " good luck.",
)


class Task(NamedTuple):
    """One combination; `str(task)` ("ends+mirror") is its id."""

    selector: str
    mapping: str

    def __str__(self) -> str:
        return f"{self.selector}+{self.mapping}"

    def solve(self, letters: str) -> str:
        return "".join(_apply(self.mapping, letters[i]) for i in _SELECTORS[self.selector][0])


TASKS = tuple(Task(selector, mapping) for selector in _SELECTORS for mapping in _MAPPINGS)
HELD_OUT = tuple(task for task in TASKS if held_out(f"instructions:{task}", 0.15))
TRAIN = tuple(task for task in TASKS if task not in HELD_OUT)
Kind = Literal["seen", "phrasing", "combination", "both", "frame"]
KINDS: tuple[Kind, ...] = ("seen", "phrasing", "combination", "both")
"""Which of phrasing and combination a probe holds out; "frame" is a sentence frame that no sample uses. Every probe's
input is held out. The default of `probes` cycles through these four."""
_STAGES: tuple[Callable[[Task], bool], ...] = (
    lambda task: len(_SELECTORS[task.selector][0]) == 1 and task.mapping in ("copy", "capital"),
    lambda task: task.mapping in ("copy", "capital"),
    lambda task: True,
)
STAGES = len(_STAGES)
_BY_STAGE = [[task for task in TRAIN if keep(task)] for keep in _STAGES]


def describe(rng: random.Random, task: Task, held: bool = False, unseen_frame: bool = False) -> str:
    """A free-form description; `held` takes a phrasing that `sample` never uses."""
    while True:
        frame = rng.choice(_UNSEEN_FRAMES if unseen_frame else _FRAMES)
        selector, mapping = rng.choice(_SELECTORS[task.selector][1]), rng.choice(_MAPPINGS[task.mapping])
        if unseen_frame or held_out(f"{frame}|{selector}|{mapping}") == held:
            break
    words = frame.replace("{s}", selector).replace("{m:s}", mapping.format(x=selector))
    for pronoun in ("it", "this"):
        words = words.replace(f"{{m:{pronoun}}}", mapping.format(x=pronoun))
    return f" {rng.choice(_OPENINGS)}{words}{rng.choice(_CLOSINGS)}"


def draw_input(rng: random.Random, probe: bool = False) -> str:
    """Six letters, held out if `probe`."""
    while True:
        letters = "".join(rng.choices(LETTERS, k=LENGTH))
        if held_out(f"instructions:{letters}") == probe:
            return letters


def example(task: Task, letters: str, description: str = "") -> Passage:
    """`task` on one input; without a description the prompt does not say what to do."""
    head = f"{description}\n" if description else ""
    return Passage(f"{head}Input: {' '.join(letters)}\nOutput:", _spaced(task.solve(letters)))


def sample(rng: random.Random, stage: int = STAGES - 1) -> Passage:
    """A training passage: one example, a run of numbered ones, or (undescribed) one after others of its task."""
    task = rng.choice(_BY_STAGE[stage])
    if rng.random() >= DESCRIBED_SHARE:
        shots = rng.choice((0, 0, 1, 3))
        shown = [example(task, draw_input(rng), "") for _ in range(shots)]
        last = example(task, draw_input(rng))
        return Passage("".join(f"{s.prompt}{s.answer}\n" for s in shown) + last.prompt, last.answer)
    return example(task, draw_input(rng), describe(rng, task))


def probes(n: int, stage: int = STAGES - 1, kind: Kind | None = None) -> list[Passage]:
    """`n` described examples with held-out inputs, of `kind` or of all `KINDS` in turn; always the same ones."""
    rng = random.Random(f"instructions:probes:{stage}")
    trained = _BY_STAGE[stage]
    held = [task for task in HELD_OUT if _STAGES[stage](task)] or trained
    found = []
    for index in range(n):
        now = kind or KINDS[index % len(KINDS)]
        task = rng.choice(held if now in ("combination", "both") else trained)
        description = describe(rng, task, held=now in ("phrasing", "both"), unseen_frame=now == "frame")
        found.append(example(task, draw_input(rng, probe=True), description))
    return found


def correct(probe: Passage, completion: str) -> bool:
    return completion.strip() == probe.answer.strip()


def _spaced(letters: str) -> str:
    return "".join(f" {letter}" for letter in letters)


def _permutation(name: str) -> dict[str, str]:
    shift = {"copy": 0, "capital": 0, "next": 1, "previous": -1}.get(name)
    if shift is not None:
        return {x: LETTERS[(i + shift) % len(LETTERS)] for i, x in enumerate(LETTERS)}
    if name == "mirror":
        return dict(zip(LETTERS, reversed(LETTERS), strict=True))
    shuffled = random.Random(f"instructions:cipher:{name}").sample(LETTERS, len(LETTERS))
    return dict(zip(LETTERS, shuffled, strict=True))


_TABLES = {name: _permutation(name) for name in _MAPPINGS}


def _apply(mapping: str, letter: str) -> str:
    found = _TABLES[mapping][letter]
    return found.upper() if mapping == "capital" else found
