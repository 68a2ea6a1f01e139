"""Documents of facts in words, and questions about them: the family that teaches a model to read its prompt.

`Document(facts, text)` holds 1 to 8 facts ("the code of falcon is 417.") among noise sentences; `question` asks for
one of them, or for one that the document does not hold, whose answer is " unknown". Half of the passages ask for
every fact in shuffled order. The first stages have fewer facts and no noise. A fact (relation, key, value) is either
for training or held out, so probe documents share no fact with samples.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

from tasks.corpus import Passage, held_out
from tasks.corpus.fact_words import ADJECTIVES, CITIES, FOODS, NAMES, NOUNS, THINGS

UNKNOWN = "unknown"
ABSENT_SHARE = 0.15


class Stage(NamedTuple):
    """What a passage may hold: `most` facts, a share of absent keys, a mean number of noise sentences, of quizzes."""

    most: int
    absent: float = 0.0
    noise: float = 0.0
    quizzes: float = 0.8


_CURRICULUM = (
    Stage(2),
    Stage(4),
    Stage(8, absent=ABSENT_SHARE),
    Stage(8, absent=ABSENT_SHARE, noise=4.0, quizzes=0.5),
)
STAGES = len(_CURRICULUM)
_NUMBERS = [str(number) for number in range(100, 1000, 9)]


class Relation(NamedTuple):
    """How one kind of fact is told and asked; `{k}` and `{v}` stand for its key and its value."""

    keys: Sequence[str]
    values: Sequence[str]
    told: tuple[str, ...]
    asked: tuple[str, ...]


RELATIONS = {
    "code": Relation(
        THINGS,
        _NUMBERS,
        ("the code of {k} is {v}.", "the {k} has code {v}.", "code for {k}: {v}."),
        ("what is the code of {k}?", "which code has the {k}?"),
    ),
    "home": Relation(
        NAMES,
        CITIES,
        ("{k} lives in {v}.", "the home of {k} is {v}.", "{k} has a house in {v}."),
        ("where does {k} live?", "where is the home of {k}?"),
    ),
    "taste": Relation(
        NAMES,
        FOODS,
        ("{k} likes {v}.", "{k} eats a lot of {v}.", "the favourite food of {k} is {v}."),
        ("what food does {k} like?", "what is the favourite food of {k}?"),
    ),
    "keeper": Relation(
        THINGS,
        NAMES,
        ("the {k} belongs to {v}.", "the {k} is owned by {v}.", "the owner of the {k} is {v}."),
        ("who owns the {k}?", "who is the owner of the {k}?"),
    ),
}
_NOISE = (
    "the sky was {a} over the {n} all day.",
    "a {a} {n} stood near the {n}.",
    "nobody saw the {a} {n} in the morning.",
    "later the {n} turned {a} again.",
    "it rained on the {n} for {d} days.",
    "{d} birds sat on the {a} {n}.",
    "they walked past the {n} and the {n}.",
)
_COUNTS = ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "twelve"]


class Fact(NamedTuple):
    relation: str
    key: str
    value: str


class Document(NamedTuple):
    """`facts` in the order in which `text` tells them."""

    facts: tuple[Fact, ...]
    text: str


def is_held_out(fact: Fact) -> bool:
    return held_out(f"{fact.relation}:{fact.key}:{fact.value}")


def document(
    rng: random.Random,
    facts: int,
    noise: int = 0,
    probe: bool = False,
    relations: Sequence[str] = tuple(RELATIONS),
) -> Document:
    """A document of `facts` facts and `noise` noise sentences; all its facts are held out if `probe`."""
    drawn: dict[tuple[str, str], Fact] = {}
    while len(drawn) < facts:
        name = rng.choice(relations)
        fact = Fact(name, rng.choice(RELATIONS[name].keys), rng.choice(RELATIONS[name].values))
        if is_held_out(fact) == probe:
            drawn.setdefault((fact.relation, fact.key), fact)
    told = [rng.choice(RELATIONS[f.relation].told).format(k=f.key, v=f.value) for f in drawn.values()]
    places = set(rng.sample(range(facts + noise), facts))
    sentences = iter(told)
    text = " ".join(next(sentences) if place in places else _noise(rng) for place in range(facts + noise))
    return Document(tuple(drawn.values()), f" {text}")


def question(rng: random.Random, of: Document, fact: Fact | None) -> tuple[str, str]:
    """A question and its answer: about `fact`, or about something that the document does not tell."""
    if fact is None:
        known = {(f.relation, f.key) for f in of.facts}
        while True:
            name = rng.choice(tuple(RELATIONS))
            key = rng.choice(RELATIONS[name].keys)
            if (name, key) not in known:
                return rng.choice(RELATIONS[name].asked).format(k=key), UNKNOWN
    return rng.choice(RELATIONS[fact.relation].asked).format(k=fact.key), fact.value


def ask(of: Document, asked: tuple[str, str]) -> Passage:
    """One question about a document; `ask(Document((), ""), asked)` is the same question without it."""
    head = f"{of.text}\n" if of.text else ""
    return Passage(f"{head}Question: {asked[0]}\nAnswer:", f" {asked[1]}")


def quiz(of: Document, asked: Sequence[tuple[str, str]]) -> Passage:
    """Several numbered questions; only their answers are learnt."""
    (prompt, answer), *then = [(f"\nQuestion {i}: {q}\nAnswer:", f" {a}") for i, (q, a) in enumerate(asked, start=1)]
    return Passage(of.text + prompt, answer, tuple(then))


def sample(rng: random.Random, stage: int = STAGES - 1) -> Passage:
    """A training passage of `stage`: a quiz over all facts of a document, or one question."""
    plan = _CURRICULUM[stage]
    drawn = _document(rng, plan, probe=False)
    if rng.random() < plan.quizzes:
        facts: list[Fact | None] = [None if rng.random() < plan.absent else fact for fact in drawn.facts]
        rng.shuffle(facts)
        return quiz(drawn, [question(rng, drawn, fact) for fact in facts])
    return ask(drawn, question(rng, drawn, _asked_about(rng, drawn, plan)))


def probes(n: int, stage: int = STAGES - 1) -> list[Passage]:
    """`n` single questions about documents whose facts are all held out; the same ones at every call."""
    rng = random.Random(f"facts:probes:{stage}")
    plan = _CURRICULUM[stage]
    drawn = [_document(rng, plan, probe=True) for _ in range(n)]
    return [ask(d, question(rng, d, _asked_about(rng, d, plan))) for d in drawn]


def correct(probe: Passage, completion: str) -> bool:
    return completion.strip() == probe.answer.strip()


def _document(rng: random.Random, plan: Stage, probe: bool) -> Document:
    facts = rng.randint(max(2, plan.most // 2) if plan.noise == 0 else 1, plan.most)
    noise = min(40, int(rng.expovariate(1 / plan.noise))) if plan.noise else 0
    return document(rng, facts, noise, probe)


def _asked_about(rng: random.Random, drawn: Document, plan: Stage) -> Fact | None:
    return None if rng.random() < plan.absent else rng.choice(drawn.facts)


def _noise(rng: random.Random) -> str:
    sentence = rng.choice(_NOISE)
    while "{" in sentence:
        sentence = sentence.replace("{a}", rng.choice(ADJECTIVES), 1).replace("{d}", rng.choice(_COUNTS), 1)
        sentence = sentence.replace("{n}", rng.choice(NOUNS), 1)
    return sentence
