"""Every task of lm-evaluation-harness as a task: `lm-eval:hellaswag`, or one's own YAML file by `include`.

Prompts, worked examples, continuations, filters and metrics are lm-eval's own, so on the same model the score is
lm-eval's to the last digit; here only the model is asked, and by the run's decoding, whatever a task's file says about
sampling. All metrics are measures under lm-eval's names; one of them that is 0 or 1 decides what is right. A choice
that is written out as text is graded by equality, so that such tasks can be trained on.
Source: Gao et al., lm-evaluation-harness 0.4.13.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field

from harness.contracts import Grade, Item, Likelihood, Offer, Prompt
from harness.errors import UserError
from harness.parameters import DataPath
from harness.registry import task_family
from tasks.bridges.lm_eval_items import Items
from tasks.bridges.lm_eval_scores import Scores
from tasks.bridges.lm_eval_source import Source, find_source

_CHARACTERS_PER_TOKEN = 64
_CHOICE_TOKENS = 256


@task_family("lm-eval", version=1, source="Gao et al. 2024, lm-evaluation-harness 0.4.13")
class LmEval:
    """A task of lm-evaluation-harness by its name there, scored as it is there."""

    name: str
    version: int
    source: Source

    def __new__(cls, subject: str, include: str | None = None, **_: Any) -> LmEval:
        """The class for the kind of task that lm-eval's file describes: written answers or likelihoods."""
        source = find_source(subject, include)
        made = super().__new__(Written if source.kind == "generate_until" else Likely)
        made.source = source
        return made

    def __init__(
        self,
        subject: str,
        include: Annotated[str | None, DataPath(), "folder with task files of your own and their data"] = None,
        shots: Annotated[int | None, Field(ge=0), "worked examples before each question; the task's own number"] = None,
        metric: Annotated[str | None, "lm-eval's metric that decides what is right; the first that is 0 or 1"] = None,
        threshold: Annotated[float | None, "value of the metric from which an answer is right, if not 0 or 1"] = None,
    ) -> None:
        self.name = f"lm-eval:{subject}"
        self._shots, self._asked, self._threshold = shots, metric, threshold
        self._items: Items | None = None
        self._scores: Scores
        self._deciding: str | None = None

    def items(self, split: str, n: int | None = None) -> Sequence[Item]:
        """The first `n` items; loads the data, and tries the metrics once, the first time."""
        if self._items is None:
            task = self.source.open(self._shots)
            self._scores = Scores(task, self.source.name)
            items = Items(task, self.name)
            self._try(items.items("test", 1)[0])
            self._items = items
        return self._items.items(split, n)

    def summary(self, items: Sequence[Item], answers: Sequence[Any]) -> dict[str, float]:
        """Every metric over `items` as lm-eval aggregates it, perplexities, F1 and BLEU among them.

        `answers` are what the model gave to each item: the likelihoods of its continuations, or the text it wrote.
        """
        scores = self._opened()
        return scores.summary([self._values(item, answer) for item, answer in zip(items, answers, strict=True)])

    def _values(self, item: Item, answer: Any) -> dict[str, Any]:
        """Every metric of one answer."""
        raise NotImplementedError

    def _probe(self, item: Item) -> Any:
        """Some answer, to see which metrics there are."""
        raise NotImplementedError

    def _try(self, item: Item) -> None:
        try:
            values = self._values(item, self._probe(item))
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{self.name}: its scoring fails ({type(error).__name__}: {reason}).") from error
        self._deciding = self._scores.deciding(self._asked, self._threshold, values)

    def _opened(self) -> Scores:
        if self._items is None:
            self.items("test", 0)
        return self._scores

    def _verdict(self, values: dict[str, Any], parsed: str | None, more: dict[str, float] | None = None) -> Grade:
        measures = self._opened().measures(values) | (more or {})
        if self._deciding is None:
            return Grade(False, 0.0, True, "no_accuracy", parsed, measures)
        value = values[self._deciding]
        correct = self._scores.passes(self._deciding, value, self._threshold)
        return Grade(correct, float(correct), True, "ok" if correct else "wrong", parsed, measures)


class Written(LmEval):
    """A task whose answer the model writes: `generate_until`."""

    offers: frozenset[Offer] = frozenset({"demonstrations", "verifier"})

    def __init__(self, subject: str, **given: Any) -> None:
        """The task's ends (`grade` cuts at all of them) and limit on tokens: 256 if its file says nothing."""
        super().__init__(subject, **given)
        until, self.max_new_tokens = self.source.generation()
        self._ends = [end for end in until if end]
        self.stop = self._ends[0] if self._ends else None

    def prompt(self, item: Item) -> Prompt:
        """lm-eval's prompt."""
        return str(item.data["context"])

    def grade(self, item: Item, completion: str) -> Grade:
        """lm-eval's grade of the completion up to the first end; reasons are ok, wrong, too_long, scorer_failed."""
        self._opened()
        answer = self._cut(completion)
        if len(answer) > _CHARACTERS_PER_TOKEN * max(64, self.max_new_tokens):
            return Grade(False, 0.0, False, "too_long")
        try:
            values = self._values(item, answer)
        except Exception as error:  # noqa: BLE001 - whatever a scorer does with hostile text is the answer's fault
            return Grade(False, 0.0, False, f"scorer_failed: {type(error).__name__}", answer[:200])
        return self._verdict(values, answer)

    def demonstration(self, item: Item) -> str:
        """The target as the prompt would go on with it; UserError if the task's own scorer does not accept it."""
        task = self._opened().task
        target = task.doc_to_target(item.data["doc"])
        if isinstance(target, int) and task.config.doc_to_choice is not None:
            target = task.doc_to_choice(item.data["doc"])[target]
        text = str(target[0] if isinstance(target, list) else target)
        for answer in (task.config.target_delimiter + text, text):
            if self.grade(item, answer).correct:
                return answer
        raise UserError(f"{self.name}: its own scorer refuses the target {text[:80]!r}, so it cannot be trained on.")

    def _cut(self, completion: str) -> str:
        for end in self._ends:
            completion = completion.split(end)[0]
        return completion

    def _values(self, item: Item, answer: Any) -> dict[str, Any]:
        return self._scores.of(item.data["doc"], item.data["context"], [self._cut(answer)])

    def _probe(self, item: Item) -> str:
        target = self._scores.task.doc_to_target(item.data["doc"])
        return str(target[0] if isinstance(target, list) and target else target)


class Likely(LmEval):
    """A task that is scored by likelihoods: `multiple_choice`, `loglikelihood` and `loglikelihood_rolling`."""

    max_new_tokens = _CHOICE_TOKENS

    @property
    def offers(self) -> frozenset[Offer]:
        """A text whose perplexity counts can be neither written nor graded."""
        rolling = self.source.kind == "loglikelihood_rolling"
        return frozenset() if rolling else frozenset({"demonstrations", "verifier"})

    @property
    def stop(self) -> str | None:
        """What lm-eval puts between worked examples."""
        return str(self.source.config.get("fewshot_delimiter", "\n\n")) or None

    def items(self, split: str, n: int | None = None) -> Sequence[Item]:
        """As for every task; one whose choices are contexts can be evaluated but not trained on."""
        found = super().items(split, n)
        if split == "train" and self._scores.task.multiple_input:
            raise UserError(f"{self.name} compares contexts, not answers: it can be evaluated, not trained on.")
        return found

    def prompt(self, item: Item) -> Prompt:
        """lm-eval's context; all of them, a line each, where the choices are contexts; nothing for a perplexity."""
        context = item.data["context"]
        return "\n".join(context) if isinstance(context, list) else str(context)

    def continuations(self, item: Item) -> Sequence[tuple[str, str]]:
        """lm-eval's requests; a text whose perplexity counts has no context."""
        requests = self._opened().requests(item.data["doc"], item.data["context"])
        return [("", *request.args) if len(request.args) == 1 else request.args for request in requests]

    def judge(self, item: Item, likelihoods: Sequence[Likelihood]) -> Grade:
        """lm-eval's metrics; with a log-probability also its parts, from which perplexities are made."""
        scores = self._opened()
        more: dict[str, float] = {}
        if self.source.kind != "multiple_choice":
            more = {"logprob": likelihoods[0].logprob, "tokens": float(likelihoods[0].tokens)}
        if self.source.kind == "loglikelihood_rolling":
            text = scores.task.doc_to_target(item.data["doc"])
            more |= {"words": float(scores.task.count_words(text)), "bytes": float(scores.task.count_bytes(text))}
        best = max(range(len(likelihoods)), key=lambda place: likelihoods[place].logprob)
        return self._verdict(self._values(item, likelihoods), self.continuations(item)[best][1], more)

    def grade(self, item: Item, completion: str) -> Grade:
        """A written choice: right if it is the right one letter for letter, blanks around it aside."""
        self._opened()
        answer = completion.strip()
        if not answer:
            return Grade(False, 0.0, False, "empty")
        if "verifier" not in self.offers or self._scores.task.multiple_input:
            return Grade(False, 0.0, False, "scored_by_likelihood")
        right, choices = self._choices(item)
        if answer in right:
            return Grade(True, 1.0, True, "ok", answer)
        if answer in choices:
            return Grade(False, 0.0, True, "wrong_choice", answer)
        return Grade(False, 0.0, False, "no_choice", answer[:200])

    def demonstration(self, item: Item) -> str:
        """The right choice as it is scored."""
        right, _ = self._choices(item)
        return next(text for _, text in self.continuations(item) if text.strip() in right)

    def _choices(self, item: Item) -> tuple[set[str], set[str]]:
        """The right choices and all of them, without blanks around them."""
        task, document = self._opened().task, item.data["doc"]
        target = task.doc_to_target(document)
        if self.source.kind == "loglikelihood":
            return {str(target).strip()}, {str(target).strip()}
        choices = task.doc_to_choice(document)
        targets = target if isinstance(target, list) else [target]
        right = {str(choices[one] if isinstance(one, int) else one).strip() for one in targets}
        return right, {str(choice).strip() for choice in choices}

    def _values(self, item: Item, answer: Any) -> dict[str, Any]:
        rolling = self.source.kind == "loglikelihood_rolling"
        responses = [one.logprob if rolling else (one.logprob, one.greedy) for one in answer]
        return self._scores.of(item.data["doc"], item.data["context"], responses)

    def _probe(self, item: Item) -> list[Likelihood]:
        count = len(self._scores.requests(item.data["doc"], item.data["context"]))
        return [Likelihood(-1.0 - place, 1, False) for place in range(count)]
