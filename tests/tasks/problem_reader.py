"""A second reading of word problems: computes an answer from the text alone, sentence by sentence.

It shares no code with `tasks.words`; what it does not understand is an error, so no sentence goes unchecked.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

Amounts = dict[str, Fraction]


def read_chain(text: str) -> Fraction:
    """The answer of a chain problem (W0 to W4)."""
    *sentences, question = _sentences(text)
    asked = re.fullmatch(
        r"How many \w+ does (\w+) have(?: now)?\?|What is the number of \w+ that (\w+) has\?", question
    )
    assert asked, question
    person = asked[1] or asked[2]
    opening = re.fullmatch(r"(\w+) (?:has|starts with) (\d+) \w+\.|There are (\d+) \w+ in (\w+)'s bag\.", sentences[0])
    assert opening and (opening[1] or opening[4]) == person, sentences[0]
    amount = Fraction(opening[2] or opening[3])
    for sentence in sentences[1:]:
        amount = _changed(amount, sentence, person)
    return amount


def _changed(amount: Fraction, sentence: str, person: str) -> Fraction:
    numbers = [int(number) for number in re.findall(r"\d+", sentence)]
    assert len(numbers) == 1, sentence
    number, words = numbers[0], re.sub(r"\d+", "N", sentence)
    if re.fullmatch(r"It is N degrees outside\.|The bus takes N minutes\.|\w+ is N years old\.", words):
        return amount
    if re.fullmatch(r"\w+ has N \w+ too\.", words):
        assert not words.startswith(person)
        return amount
    if words.startswith(person):
        words = words.replace(person, "P")
    words = words.replace(f"gives {person} N", "gives P N")
    if re.fullmatch(r"P buys N more\.|P finds N more \w+\.|A friend gives P N \w+\.|Then N more are added\.", words):
        return amount + number
    if re.fullmatch(r"P loses N of them\.|P gives away N \w+\.|Then N of them break\.|P sells N\.", words):
        return amount - number
    if words in (
        "Then the number grows N times as large.",
        "P makes it N times as many.",
        "Now there are N equal groups of that size.",
        "A machine turns each one into N.",
    ):
        return amount * number
    assert words in (
        "P shares them equally with friends, N people in all, and keeps one share.",
        "P splits them into N equal boxes and keeps one box.",
        "Only one of N equal parts is kept.",
        "P divides them by N and keeps one part.",
    ), sentence
    return amount / number


_FACTORS = {"half": Fraction(1, 2), "twice": Fraction(2), "three times": Fraction(3), "four times": Fraction(4)}
_FACTORS["five times"] = Fraction(5)


class StoryReader:
    """The answer of a story (W5): `read` notes what each sentence says, the question asks for it."""

    def __init__(self) -> None:
        self.owns: Amounts = {}
        self.hourly: Amounts = {}
        self.money: Amounts = {}
        self.saved = self.amount = self.other = Fraction(0)
        self.boxes = False
        rules: list[tuple[str, Callable[..., None]]] = [
            (r"It is (\d+) degrees outside\.|The bus takes (\d+) minutes\.", self._nothing),
            (r"\w+, the neighbour, is \d+ years old\.|It is \d+ days until the holidays\.", self._nothing),
            (r"There are \d+ steps to the front door\.", self._nothing),
            (r"(\w+) has (\d+) \w+\.", self._has),
            (r"(\w+) has (half|twice|\w+ times|\d+%) as many \w+ as (\w+)\.", self._has_share),
            (r"(\w+) has (\d+) (more|fewer) \w+ than (\w+)\.", self._has_beside),
            (r"Then (\w+) buys (\d+) more \w+\.", self._gains),
            (r"Then (\w+) loses (\d+) \w+\.", self._loses),
            (r"Then (\w+) gives (\d+) \w+ to (\w+)\.", self._hands_over),
            (r"Then (\w+) finds (\d+) more \w+ every day for (\d+) days\.", self._gains),
            (r"Then for (\d+) weeks (\w+) gives away (\d+) \w+ a week\.", self._gives_weekly),
            (r"In the end (.+) put all their \w+ together and share them equally\.", self._share_out),
            (r"In the end (.+) put all their \w+ into boxes of (\d+)\.", self._box_all),
            (r"In the end (.+) sell all their \w+ for \$(\d+) each\.", self._sell_all),
            (r"\w+ buys (\d+) \w+ for \$(\d+) each and (\d+) \w+ for \$(\d+) each\.", self._buys),
            (r"\w+ also buys an? [\w ]+ for \$(\d+)\.", self._adds),
            (r"The shop takes (\d+)% off the whole price\.", self._discount),
            (r"\w+ pays with \$(\d+)\.", self._from),
            (r"A group of (\d+) people, \w+ among them, shares the cost equally\.", self._divided),
            (r"(\w+) earns \$(\d+) an hour and works (\d+) hours a day for (\d+) days\.", self._earns),
            (r"(\w+) earns \$(\d+) an hour more than (\w+) and works (\d+) hours in all\.", self._earns_more),
            (r"After that (\w+) spends \$(\d+) of the money on food\.", self._spends),
            (r"Then (\w+) gives (\d+)% of what is left to \w+\.", self._gives_percent),
            (r"(\w+) saves (\d+)% of the money and spends the rest\.", self._saves),
            (r"\w+'s machine makes (\d+) \w+ an hour and runs for (\d+) hours\.", self._makes),
            (r"Of these \w+, (\d+)% are broken and thrown away\.", self._discount),
            (r"\w+ gives (\d+) of the good ones to a school\.", self._removes),
            (r"A customer wants (\d+) \w+\.", self._from),
            (r"The rest is packed into boxes of (\d+)\.", self._divided),
            (r"Each box is sold for \$(\d+)\.", self._times),
        ]
        self.rules = [(re.compile(pattern), note) for pattern, note in rules]

    def read(self, text: str) -> Fraction:
        *sentences, question = _sentences(text)
        for sentence in sentences:
            notes = [(match, note) for pattern, note in self.rules if (match := pattern.fullmatch(sentence))]
            assert len(notes) == 1, sentence
            match, note = notes[0]
            note(*match.groups())
        return self._asked(question)

    def _asked(self, question: str) -> Fraction:
        if match := re.fullmatch(r"How many more \w+ does (\w+) (?:have|earn) than (\w+)(?: now)?\?", question):
            owned = self.owns or self.money
            return owned[match[1]] - owned[match[2]]
        if match := re.fullmatch(r"How many \w+ do (.+) (?:have|earn) together(?: now)?\?", question):
            return sum(((self.owns or self.money)[name] for name in _names(match[1])), Fraction(0))
        if match := re.fullmatch(r"How many dollars of the money does (\w+) have left\?", question):
            return self.money[match[1]]
        if match := re.fullmatch(r"How many dollars does (\w+) spend\?", question):
            return self.money[match[1]] - self.saved
        if re.fullmatch(r"How many dollars does \w+ save\?", question):
            return self.saved
        if match := re.fullmatch(r"How many \w+ does (\w+) have now\?", question):
            return self.owns[match[1]]
        known = r"How many (?:dollars do(?:es)? .+ (?:pay|get back|in total|bring in)|boxes .+|\w+ are left|"
        assert re.fullmatch(known + r"more \w+ does \w+ need|\w+ does each of them (?:get|pay))\?", question), question
        return self.amount

    def _nothing(self, *_: str) -> None: ...

    def _has(self, name: str, number: str) -> None:
        self.owns[name] = Fraction(number)

    def _has_share(self, name: str, share: str, known: str) -> None:
        factor = Fraction(int(share[:-1]), 100) if share.endswith("%") else _FACTORS[share]
        self.owns[name] = self.owns[known] * factor

    def _has_beside(self, name: str, number: str, kind: str, known: str) -> None:
        self.owns[name] = self.owns[known] + (int(number) if kind == "more" else -int(number))

    def _gains(self, name: str, number: str, times: str = "1") -> None:
        self.owns[name] += int(number) * int(times)

    def _loses(self, name: str, number: str) -> None:
        self.owns[name] -= int(number)

    def _hands_over(self, giver: str, number: str, receiver: str) -> None:
        self.owns[giver] -= int(number)
        self.owns[receiver] += int(number)

    def _gives_weekly(self, weeks: str, name: str, number: str) -> None:
        self.owns[name] -= int(weeks) * int(number)

    def _together(self, names: str) -> Fraction:
        assert sorted(_names(names)) == sorted(self.owns)
        return sum(self.owns.values(), Fraction(0))

    def _share_out(self, names: str) -> None:
        self.amount = self._together(names) / len(self.owns)

    def _box_all(self, names: str, size: str) -> None:
        self.amount = self._together(names) / int(size)

    def _sell_all(self, names: str, price: str) -> None:
        self.amount = self._together(names) * int(price)

    def _buys(self, first: str, price: str, second: str, dear: str) -> None:
        self.amount = Fraction(int(first) * int(price) + int(second) * int(dear))

    def _adds(self, number: str) -> None:
        self.amount += int(number)

    def _removes(self, number: str) -> None:
        self.amount -= int(number)

    def _discount(self, percent: str) -> None:
        self.amount *= 1 - Fraction(int(percent), 100)

    def _from(self, number: str) -> None:
        self.amount = int(number) - self.amount

    def _divided(self, number: str) -> None:
        self.amount /= int(number)

    def _times(self, number: str) -> None:
        self.amount *= int(number)

    def _earns(self, name: str, wage: str, hours: str, days: str) -> None:
        self.hourly[name] = Fraction(wage)
        self.money[name] = Fraction(wage) * int(hours) * int(days)

    def _earns_more(self, name: str, better: str, known: str, hours: str) -> None:
        self.money[name] = (self.hourly[known] + int(better)) * int(hours)

    def _spends(self, name: str, number: str) -> None:
        self.money[name] -= int(number)

    def _gives_percent(self, name: str, percent: str) -> None:
        self.money[name] *= 1 - Fraction(int(percent), 100)

    def _saves(self, name: str, percent: str) -> None:
        self.saved = self.money[name] * int(percent) / 100

    def _makes(self, rate: str, hours: str) -> None:
        self.amount = Fraction(int(rate) * int(hours))


def _names(listed: str) -> list[str]:
    return re.split(r", | and ", listed)


def _sentences(text: str) -> list[str]:
    return re.split(r"(?<=\.) ", text)
