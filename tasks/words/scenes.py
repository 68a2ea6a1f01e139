"""The scenes of stories: what people own, a purchase, work for wages, a workshop's output.

A scene is a function that tells a story to a `Teller` and returns the question with the operand that answers it. It
raises ValueError where numbers do not come out whole; whoever draws then draws again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from tasks.words.program import Operand, Step, results
from tasks.words.wording import THINGS

_TIMES = {2: "twice", 3: "three times", 4: "four times", 5: "five times"}
_PERCENTS = (5, 10, 20, 25, 30, 40, 50, 60, 75, 80, 90)
_BOXES = range(2, 13)
_TOOLS = ("a bag", "a basket", "a wooden box", "a map", "a lamp")


class Teller:
    """Collects the sentences of a story and the steps behind them."""

    def __init__(self, rng: random.Random, people: Sequence[str]) -> None:
        self.rng, self.people = rng, list(people)
        self.sentences: list[str] = []
        self.program: list[Step] = []

    def say(self, sentence: str) -> None:
        self.sentences.append(sentence)

    def do(self, operator: str, left: Operand, right: Operand) -> str:
        """Add a step; what it returns stands for its result. ValueError if that is no whole number from 1 up."""
        self.program.append([operator, left, right])
        results(self.program)
        return f"r{len(self.program) - 1}"

    def total(self, parts: Sequence[Operand]) -> Operand:
        """The sum, one step for each part after the first."""
        found = parts[0]
        for part in parts[1:]:
            found = self.do("+", found, part)
        return found

    def value(self, operand: Operand) -> int:
        return results(self.program)[int(operand[1:])] if isinstance(operand, str) else operand

    def divisor(self, operand: Operand) -> int:
        """A number from 2 to 12 that divides it; ValueError if there is none."""
        return self._choose([number for number in _BOXES if self.value(operand) % number == 0])

    def percent(self, operand: Operand) -> int:
        """A percentage of it that is whole; ValueError if there is none."""
        return self._choose([percent for percent in _PERCENTS if self.value(operand) * percent % 100 == 0])

    def _choose(self, numbers: list[int]) -> int:
        if not numbers:
            raise ValueError("no number fits")
        return self.rng.choice(numbers)


Asked = tuple[str, Operand]


def collection(teller: Teller) -> Asked:
    """Two or three people own things, in comparison with each other; things change; some are asked about."""
    rng, things = teller.rng, teller.rng.choice(THINGS)
    people = teller.people[: rng.choice((2, 3, 3))]
    owns: dict[str, Operand] = {people[0]: rng.randint(4, 60)}
    teller.say(f"{people[0]} has {owns[people[0]]} {things}.")
    for person in people[1:]:
        owns[person] = _compare(teller, person, rng.choice(list(owns)), owns, things)
    if rng.random() < 0.5:
        _change(teller, rng.choice(people), owns, things)
    everyone = _listed(people)
    kind = rng.choice(("total", "more", "one", "boxes", "sell", "share"))
    if kind == "one":
        person = rng.choice(people[1:])
        return f"How many {things} does {person} have now?", owns[person]
    if kind == "more":
        more, fewer = rng.sample(people, 2)
        return f"How many more {things} does {more} have than {fewer} now?", teller.do("-", owns[more], owns[fewer])
    total = teller.total([owns[person] for person in people])
    if kind == "total":
        return f"How many {things} do {everyone} have together now?", total
    if kind == "share":
        teller.say(f"In the end {everyone} put all their {things} together and share them equally.")
        return f"How many {things} does each of them get?", teller.do("/", total, len(people))
    if kind == "boxes":
        size = teller.divisor(total)
        teller.say(f"In the end {everyone} put all their {things} into boxes of {size}.")
        return "How many boxes do they fill?", teller.do("/", total, size)
    price = rng.randint(2, 9)
    teller.say(f"In the end {everyone} sell all their {things} for ${price} each.")
    return "How many dollars do they get in total?", teller.do("*", total, price)


def _compare(teller: Teller, person: str, known: str, owns: dict[str, Operand], things: str) -> Operand:
    rng, there = teller.rng, owns[known]
    kind = rng.choice(("times", "half", "more", "fewer", "percent"))
    if kind == "times":
        factor = rng.choice(list(_TIMES))
        teller.say(f"{person} has {_TIMES[factor]} as many {things} as {known}.")
        return teller.do("*", there, factor)
    if kind == "half":
        teller.say(f"{person} has half as many {things} as {known}.")
        return teller.do("/", there, 2)
    if kind == "percent":
        percent = teller.percent(there)
        teller.say(f"{person} has {percent}% as many {things} as {known}.")
        return teller.do("%", there, percent)
    number = rng.randint(2, 30)
    teller.say(f"{person} has {number} {kind} {things} than {known}.")
    return teller.do("+" if kind == "more" else "-", there, number)


def _change(teller: Teller, person: str, owns: dict[str, Operand], things: str) -> None:
    rng = teller.rng
    kind, number = rng.choice(("buy", "lose", "give", "daily", "weekly")), rng.randint(2, 20)
    if kind == "buy":
        teller.say(f"Then {person} buys {number} more {things}.")
        owns[person] = teller.do("+", owns[person], number)
    elif kind == "lose":
        teller.say(f"Then {person} loses {number} {things}.")
        owns[person] = teller.do("-", owns[person], number)
    elif kind == "give":
        receiver = rng.choice([other for other in owns if other != person])
        teller.say(f"Then {person} gives {number} {things} to {receiver}.")
        owns[person] = teller.do("-", owns[person], number)
        owns[receiver] = teller.do("+", owns[receiver], number)
    elif kind == "daily":
        days = rng.randint(2, 10)
        teller.say(f"Then {person} finds {number} more {things} every day for {days} days.")
        owns[person] = teller.do("+", owns[person], teller.do("*", number, days))
    else:
        weeks = rng.randint(2, 6)
        teller.say(f"Then for {weeks} weeks {person} gives away {number} {things} a week.")
        owns[person] = teller.do("-", owns[person], teller.do("*", number, weeks))


def purchase(teller: Teller) -> Asked:
    """Somebody buys things at prices, perhaps with something off, and pays alone, with change, or with friends."""
    rng, buyer = teller.rng, teller.people[0]
    one, other = rng.sample(THINGS, 2)
    first, price, second, dear = rng.randint(2, 12), rng.randint(2, 15), rng.randint(2, 12), rng.randint(2, 15)
    teller.say(f"{buyer} buys {first} {one} for ${price} each and {second} {other} for ${dear} each.")
    cost = teller.do("+", teller.do("*", first, price), teller.do("*", second, dear))
    if rng.random() < 0.3:
        extra = rng.randint(3, 40)
        teller.say(f"{buyer} also buys {rng.choice(_TOOLS)} for ${extra}.")
        cost = teller.do("+", cost, extra)
    if rng.random() < 0.4:
        percent = teller.percent(cost)
        teller.say(f"The shop takes {percent}% off the whole price.")
        cost = teller.do("-", cost, teller.do("%", cost, percent))
    kind = rng.choice(("pays", "change", "friends"))
    if kind == "pays":
        return f"How many dollars does {buyer} pay?", cost
    if kind == "change":
        step = rng.choice((10, 50, 100))
        note = (teller.value(cost) // step + 1) * step
        teller.say(f"{buyer} pays with ${note}.")
        return f"How many dollars does {buyer} get back?", teller.do("-", note, cost)
    group = teller.divisor(cost)
    teller.say(f"A group of {group} people, {buyer} among them, shares the cost equally.")
    return "How many dollars does each of them pay?", teller.do("/", cost, group)


def wages(teller: Teller) -> Asked:
    """One or two people work for wages by the hour; some is spent, saved, or compared."""
    rng, (one, other, _) = teller.rng, teller.people
    wage, hours, days = rng.randint(5, 20), rng.randint(2, 8), rng.randint(2, 6)
    teller.say(f"{one} earns ${wage} an hour and works {hours} hours a day for {days} days.")
    earned = teller.do("*", wage, teller.do("*", hours, days))
    kind = rng.choice(("left", "saves", "together", "more"))
    if kind == "left":
        spent = rng.randint(5, 90)
        teller.say(f"After that {one} spends ${spent} of the money on food.")
        left = teller.do("-", earned, spent)
        if rng.random() < 0.5:
            percent = teller.percent(left)
            teller.say(f"Then {one} gives {percent}% of what is left to {other}.")
            left = teller.do("-", left, teller.do("%", left, percent))
        return f"How many dollars of the money does {one} have left?", left
    if kind == "saves":
        percent = teller.percent(earned)
        teller.say(f"{one} saves {percent}% of the money and spends the rest.")
        saved = teller.do("%", earned, percent)
        if rng.random() < 0.5:
            return f"How many dollars does {one} spend?", teller.do("-", earned, saved)
        return f"How many dollars does {one} save?", saved
    better, worked = rng.randint(1, 9), rng.randint(3, 30)
    teller.say(f"{other} earns ${better} an hour more than {one} and works {worked} hours in all.")
    others = teller.do("*", teller.do("+", wage, better), worked)
    if kind == "together":
        return f"How many dollars do {one} and {other} earn together?", teller.do("+", earned, others)
    richer, poorer = (earned, others) if teller.value(earned) > teller.value(others) else (others, earned)
    names = (one, other) if richer == earned else (other, one)
    return f"How many more dollars does {names[0]} earn than {names[1]}?", teller.do("-", richer, poorer)


def workshop(teller: Teller) -> Asked:
    """A machine makes things at a rate; some are broken, some given away, the rest is packed and sold."""
    rng, things, owner = teller.rng, teller.rng.choice(THINGS), teller.people[0]
    rate, hours = rng.randint(4, 60), rng.randint(2, 12)
    teller.say(f"{owner}'s machine makes {rate} {things} an hour and runs for {hours} hours.")
    made: Operand = teller.do("*", rate, hours)
    if rng.random() < 0.6:
        percent = teller.percent(made)
        teller.say(f"Of these {things}, {percent}% are broken and thrown away.")
        made = teller.do("-", made, teller.do("%", made, percent))
    if rng.random() < 0.4:
        given = rng.randint(2, 40)
        teller.say(f"{owner} gives {given} of the good ones to a school.")
        made = teller.do("-", made, given)
    kind = rng.choice(("left", "boxes", "money", "short"))
    if kind == "left":
        return f"How many {things} are left?", made
    if kind == "short":
        wanted = teller.value(made) + rng.randint(2, 60)
        teller.say(f"A customer wants {wanted} {things}.")
        return f"How many more {things} does {owner} need?", teller.do("-", wanted, made)
    size = teller.divisor(made)
    teller.say(f"The rest is packed into boxes of {size}.")
    boxes = teller.do("/", made, size)
    if kind == "boxes":
        return "How many boxes are filled?", boxes
    price = rng.randint(3, 30)
    teller.say(f"Each box is sold for ${price}.")
    return "How many dollars do the boxes bring in?", teller.do("*", boxes, price)


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]])


SCENES: dict[str, Callable[[Teller], Asked]] = {
    scene.__name__: scene for scene in (collection, purchase, wages, workshop)
}
