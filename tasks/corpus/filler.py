"""Text-like filler as a pre-training family: short stories from a small grammar; their perplexity probes retention.

A story keeps its people, animal and place through its sentences, so that later words can be told from earlier ones.
Filler has no answers to grade: measure it by perplexity.
"""

from __future__ import annotations

import random

from tasks.corpus import Passage, held_out

PEOPLE = [
    "Anna",
    "Ben",
    "Clara",
    "David",
    "Emma",
    "Felix",
    "Greta",
    "Henry",
    "Iris",
    "Jonas",
    "Lena",
    "Martin",
    "Nora",
    "Oscar",
    "Petra",
    "Simon",
]
ANIMALS = ["dog", "cat", "horse", "fox", "bird", "rabbit", "goat", "mouse", "owl", "duck", "wolf", "bear"]
PLACES = [
    "garden",
    "forest",
    "village",
    "river",
    "market",
    "harbour",
    "kitchen",
    "school",
    "bridge",
    "tower",
    "meadow",
    "station",
]
ADJECTIVES = ["old", "small", "quiet", "grey", "young", "tired", "happy", "brave", "slow", "clever", "hungry", "wild"]
WEATHER = ["rain", "snow", "wind", "fog", "sunshine", "thunder"]
TIMES = ["morning", "evening", "night", "afternoon"]
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
FEELINGS = ["glad", "sad", "angry", "afraid", "proud", "surprised"]
OBJECTS = ["bread", "key", "lamp", "letter", "rope", "basket", "coat", "book", "bell", "map", "stone", "boat"]
VERBS = ["saw", "followed", "called", "fed", "painted", "watched", "found", "remembered", "missed", "helped"]
OPENINGS = (
    "One {time} {person} walked to the {place}.",
    "On {day} there was {weather} over the {place}.",
    "{person} had a {adjective} {animal}.",
    "The {adjective} {animal} lived near the {place}.",
)
MIDDLES = (
    "{person} {verb} the {animal} because of the {weather}.",
    "The {animal} carried a {object} from the {place}.",
    "{person} was {feeling}, for the {object} was gone.",
    "{friend} said: the {animal} is in the {place}.",
    "Then {friend} {verb} {person} at the {place}.",
    "When the {weather} came, the {animal} ran to {friend}.",
    "{person} and {friend} looked for the {object} all {time}.",
)
ENDINGS = (
    "So {person} went home with the {object}.",
    "In the end the {adjective} {animal} was {feeling}.",
    "By {day} everyone in the {place} knew about the {object}.",
    "{friend} never told {person} about the {weather}.",
)


def story(rng: random.Random) -> str:
    """One story."""
    person, friend = rng.sample(PEOPLE, 2)
    words = {
        "person": person,
        "friend": friend,
        "animal": rng.choice(ANIMALS),
        "place": rng.choice(PLACES),
        "object": rng.choice(OBJECTS),
        "weather": rng.choice(WEATHER),
        "day": rng.choice(DAYS),
        "adjective": rng.choice(ADJECTIVES),
    }
    patterns = [rng.choice(OPENINGS), *rng.sample(MIDDLES, rng.randint(1, 3)), rng.choice(ENDINGS)]
    return " ".join(
        pattern.format(time=rng.choice(TIMES), feeling=rng.choice(FEELINGS), verb=rng.choice(VERBS), **words)
        for pattern in patterns
    )


def _passage(rng: random.Random, probe: bool) -> Passage:
    while True:
        text = story(rng)
        if held_out("filler:" + text) == probe:
            return Passage("", text)


def sample(rng: random.Random) -> Passage:
    """A story to learn from."""
    return _passage(rng, probe=False)


def probes(n: int) -> list[Passage]:
    """`n` stories no sample repeats."""
    rng = random.Random("filler probes")
    return [_passage(rng, probe=True) for _ in range(n)]


def correct(probe: Passage, completion: str) -> bool:
    """Always raises TypeError: filler has no answer."""
    raise TypeError("filler has no right answer; measure the perplexity of its probes instead")
