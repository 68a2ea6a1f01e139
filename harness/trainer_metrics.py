"""What a TRL trainer notes of its micro-batches, put together over the processes that computed them.

TRL appends to one list a figure and logs each list's mean; the entries that a process added in this update are added to
everybody's lists. Its running count of tokens grows by everybody's.
"""

from __future__ import annotations

from typing import Any

from harness.ranks import Ranks

_TOTAL, _SHOWN = "_total_train_tokens", "num_tokens"


class TrainerMetrics:
    """The lists of one trainer, before and after an update's micro-batches."""

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self._marked = {name: len(values) for name, values in self._lists().items()}
        self._tokens = getattr(trainer, _TOTAL, 0)

    def put_together(self, ranks: Ranks) -> None:
        """Add what the other processes noted since this was made."""
        lists = self._lists()
        mine = {name: values[self._marked.get(name, 0) :] for name, values in lists.items()}
        dealt = ranks.gather((mine, getattr(self._trainer, _TOTAL, 0) - self._tokens))
        for name in dict.fromkeys(name for noted, _ in dealt for name in noted):
            added = [value for noted, _ in dealt for value in noted.get(name, [])]
            lists[name][self._marked.get(name, 0) :] = added
        added_tokens = sum(tokens for _, tokens in dealt)
        if added_tokens:
            setattr(self._trainer, _TOTAL, self._tokens + added_tokens)
            lists[_SHOWN][:] = [self._tokens + added_tokens]

    def _lists(self) -> Any:
        """Lists by name, of training; empty for a trainer that is not TRL's."""
        for name in ("_metrics", "_stored_metrics"):
            if hasattr(self._trainer, name):
                return getattr(self._trainer, name)["train"]
        return {}
