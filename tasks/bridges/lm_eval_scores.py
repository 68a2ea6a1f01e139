"""How lm-eval scores one question: its filters and its `process_results`, and its aggregations over many questions.

A metric is called as lm-eval prints it: `acc`, or `exact_match,strict-match` where a task has several filters. What
decides accuracy must be 0 or 1 for each question, or be given a threshold. Metrics that are no mean over questions
(perplexities, F1, BLEU) come from `summary`, which is lm-eval's own aggregation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

from harness.errors import UserError, unknown

Responses = Sequence[Any]
"""What the model gave to each request of a question: (log-probability, greedy), a log-probability, or a text."""


class Scores:
    """The scorer of one opened lm-eval task."""

    def __init__(self, task: Any, name: str) -> None:
        self.task, self.name = task, name

    def requests(self, doc: Any, context: Any) -> list[Any]:
        """lm-eval's requests for a question: what the model is asked to score or to continue."""
        made = self.task.construct_requests(doc=doc, ctx=context, metadata=(self.name, 0, 1))
        return list(made) if isinstance(made, list) else [made]

    def of(self, doc: Any, context: Any, responses: Responses) -> dict[str, Any]:
        """Every metric of one question."""
        instances = self.requests(doc, context)
        for instance, response in zip(instances, responses, strict=True):
            instance.resps = [response]
        found: dict[str, Any] = {}
        for one in self.task._filters:
            one.apply(instances)
            values = self.task.process_results(doc, [instance.filtered_resps[one.name] for instance in instances])
            found |= {self._key(metric, one.name): value for metric, value in values.items()}
        return found

    def summary(self, scored: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Every metric over many questions, each given by `of`, through lm-eval's aggregation."""
        columns: dict[str, list[Any]] = {}
        for values in scored:
            for key, value in values.items():
                columns.setdefault(key, []).append(value)
        return {key: float(self._aggregation(key)(values)) for key, values in columns.items()}

    def measures(self, values: Mapping[str, Any]) -> dict[str, float]:
        """The metrics of one question whose mean over questions is the task's figure."""
        return {key: float(value) for key, value in values.items() if self._is_mean(key, value)}

    def deciding(self, asked: str | None, threshold: float | None, values: Mapping[str, Any]) -> str | None:
        """The metric that decides accuracy: `asked`, or the first of the task's list that can.

        `values` are those of some question. None for a task of perplexities, which has none. UserError for a
        metric that is not there or cannot decide.
        """
        if asked is not None and asked not in values:
            raise unknown(f"metric of {self.name}", asked, values)
        listed = list(self.task._metric_fn_list)
        ordered = sorted(values, key=lambda key: (*listed, key.partition(",")[0]).index(key.partition(",")[0]))
        if asked is None:
            for key in ordered:
                if self._is_mean(key, values[key]) and float(values[key]) in (0.0, 1.0):
                    return key
            if self.task.OUTPUT_TYPE == "loglikelihood_rolling" and threshold is None:
                return None
        key = asked or ordered[0]
        if not self._is_mean(key, values[key]):
            raise UserError(f"{self.name}: the metric {key!r} is no number for each question, so it gives no accuracy.")
        if threshold is None and float(values[key]) not in (0.0, 1.0):
            raise UserError(
                f"{self.name}: the metric {key!r} is not 0 or 1 (but {float(values[key]):.4g}): say from which "
                "threshold an answer is right, threshold=0.5, or take another metric."
            )
        return key

    def passes(self, key: str, value: Any, threshold: float | None) -> bool:
        """Whether a question's value of the deciding metric makes it right."""
        if threshold is None:
            return float(value) == 1.0
        better = self.task.higher_is_better().get(key.partition(",")[0], True)
        return float(value) >= threshold if better else float(value) <= threshold

    def _key(self, metric: str, filter_name: str) -> str:
        return metric if len(self.task._filters) == 1 else f"{metric},{filter_name}"

    def _aggregation(self, key: str) -> Any:
        from lm_eval.api.metrics import mean

        return self.task.aggregation().get(key.partition(",")[0], mean)

    def _is_mean(self, key: str, value: Any) -> bool:
        from lm_eval.api.metrics import mean

        return isinstance(value, Real) and math.isfinite(value) and self._aggregation(key) is mean
