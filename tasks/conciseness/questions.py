"""Questions with answers of a word or two: facts that hold anywhere, each asked in several ways.

Split by fact, so that no fact of test was trained on in other words.
"""

from __future__ import annotations

from typing import NamedTuple


class Question(NamedTuple):
    """A fact: the answer, and the ways to ask for it."""

    answer: str
    asked: tuple[str, ...]


_CAPITALS = {
    "France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Japan": "Tokyo", "Egypt": "Cairo", "Peru": "Lima",
    "Norway": "Oslo", "Greece": "Athens", "Cuba": "Havana", "Kenya": "Nairobi", "Austria": "Vienna",
    "Portugal": "Lisbon", "Ireland": "Dublin", "Finland": "Helsinki", "Poland": "Warsaw", "Chile": "Santiago",
    "Hungary": "Budapest", "Sweden": "Stockholm", "Denmark": "Copenhagen", "Thailand": "Bangkok",
}  # fmt: skip
_OPPOSITES = {
    "hot": "cold", "big": "small", "early": "late", "open": "closed", "full": "empty", "light": "dark",
    "old": "young", "fast": "slow", "wet": "dry", "rich": "poor", "strong": "weak", "high": "low",
}  # fmt: skip
_COUNTS = {
    "days in a week": "7", "months in a year": "12", "minutes in an hour": "60", "legs of a spider": "8",
    "sides of a triangle": "3", "letters in the word river": "5", "wheels of a bicycle": "2",
    "seasons in a year": "4", "strings of a violin": "4", "sides of a hexagon": "6",
}  # fmt: skip

QUESTIONS = (
    *(
        Question(
            city, (f"What is the capital of {country}?", f"Name the capital of {country}.", f"{country}'s capital?")
        )
        for country, city in _CAPITALS.items()
    ),
    *(
        Question(other, (f"What is the opposite of {word}?", f"Name a word that means the opposite of {word}."))
        for word, other in _OPPOSITES.items()
    ),
    *(Question(number, (f"How many {what} are there?", f"The number of {what}?")) for what, number in _COUNTS.items()),
)
