"""Continued pretraining: minus the mean log-likelihood of every token of the task's texts, prompts included.

-1/T sum_t log pi(x_t | x_<t) over packed rows (Gururangan et al. 2020, arXiv 2004.10964, section 3). Texts are the
task's documents where it offers some, else prompt and demonstration as one text; each stands between the tokenizer's
beginning token (its end token, if it has none) and its end token. TRL's best-fit packing fills rows of `length` tokens,
a longer text is cut. Documents of a row do not see each other: their position ids begin anew, from which transformers'
sdpa and eager attention make a block-diagonal mask, and nothing is predicted across a border. Sane learning rates for
models of 0.5B and more: 1e-5 to 1e-4 for all parameters, 1e-4 to 5e-4 for LoRA, with 5 to 30 % replay.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.contracts import GradientOptimiser, Offer, Signal, Task, TaskRefusal
from harness.errors import UserError
from harness.spec import ModelReference
from harness.update_size import Planned, UpdateSize
from methods.objectives.replay import NO_REPLAY, Replay

if TYPE_CHECKING:
    from harness.context import StageContext

_LOOKED_AT = 64  # texts, for an estimate
_ENDS = 2  # tokens around a text
_KEEPS_APART = ("sdpa", "eager")


@dataclass(frozen=True)
class ContinuedPretraining:
    """Read the task's texts."""

    batch_size: int
    length: int
    examples: int
    replay: Replay = NO_REPLAY
    name = "cpt"
    gives: frozenset[Signal] = frozenset({"gradient"})
    needs: frozenset[Offer] = frozenset()

    def refuses(self, task: Task, model: ModelReference | None) -> str | None:
        """A task without texts, or replay without a source."""
        if not task.offers & {"documents", "demonstrations"}:
            return TaskRefusal(f"'cpt' needs documents or demonstrations, task {task.name!r} offers neither")
        return self.replay.refuses()

    def trainer(self, stage: StageContext, optimiser: GradientOptimiser) -> Any:
        """An SFTTrainer over packed rows of tokens."""
        from trl import SFTConfig, SFTTrainer

        from harness.gradient_loop import trainer_arguments

        attention = stage.policy.model.config._attn_implementation
        if attention not in _KEEPS_APART:
            raise UserError(f"cpt packs documents, which {attention!r} attention would mix: load the model with sdpa.")
        return SFTTrainer(
            model=stage.policy.model,
            args=SFTConfig(
                **trainer_arguments(stage, self.batch_size),
                max_length=None,
                completion_only_loss=False,
                dataset_kwargs={"skip_prepare_dataset": True},
            ),
            data_collator=Packed(stage.policy.tokenizer.pad_token_id),
            train_dataset=self._rows(stage),
            processing_class=stage.policy.tokenizer,
            optimizers=optimiser.create(stage),
        )

    def _rows(self, stage: StageContext) -> Any:
        """Packed rows `input_ids`, `seq_lengths`."""
        from datasets import Dataset
        from trl import pack_dataset

        window = min(self.length, int(stage.policy.model.config.max_position_embeddings))
        texts = _texts(stage, self.examples)
        rows = Dataset.from_dict({"input_ids": [_encoded(stage, row) for row in texts + self._replayed(stage, texts)]})
        packed = pack_dataset(rows.shuffle(seed=stage.seed("packing") % 2**32), window, "bfd_split")
        stage.run.events.write("packed", texts=len(rows), rows=len(packed), length=window)
        return packed

    def _replayed(self, stage: StageContext, texts: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return self.replay.rows(stage, len(texts))

    def update_size(self, planned: Planned) -> UpdateSize:
        """Rows as full as texts of the mean length fill them; a longer one is cut and fills them."""
        task: Any = planned.task
        if "documents" in task.offers:
            lengths = [planned.tokens(one.text) for one in task.documents("train", _LOOKED_AT)]
        else:
            some = task.items("train", _LOOKED_AT)
            lengths = [planned.tokens(task.prompt(one)) + planned.tokens(task.demonstration(one)) for one in some]
        row, text = min(self.length, planned.window), sum(lengths) / len(lengths) + _ENDS
        return UpdateSize(self.batch_size, row // text * text if text < row else row)

    def describe(self) -> dict[str, Any]:
        shown = {"batch_size": self.batch_size, "length": self.length, "examples": self.examples}
        return shown | self.replay.describe()


@dataclass(frozen=True)
class Packed:
    """Collates packed rows: position ids that begin anew with every document tell attention where it ends.

    There is no attention mask, as one would override that; what pads a row is one more document, without labels.
    """

    pad: int

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """`input_ids`, `labels` and `position_ids`, each [rows, tokens]."""
        import torch

        width = max(len(row["input_ids"]) for row in rows)
        batch: dict[str, list[list[int]]] = {"input_ids": [], "labels": [], "position_ids": []}
        for row in rows:
            padding = width - len(row["input_ids"])
            positions = [place for length in (*row["seq_lengths"], padding) for place in range(length)]
            ids = [*row["input_ids"], *[self.pad] * padding]
            learnt = len(row["input_ids"])
            batch["input_ids"].append(ids)
            batch["position_ids"].append(positions)
            batch["labels"].append(
                [
                    token if place and n < learnt else -100
                    for n, (token, place) in enumerate(zip(ids, positions, strict=True))
                ]
            )
        return {name: torch.tensor(values) for name, values in batch.items()}


def _texts(stage: StageContext, examples: int) -> list[dict[str, Any]]:
    """Rows `prompt`, `completion` that are read as one text; a document has an empty prompt."""
    from methods.objectives.dataset import completion_columns

    task: Any = stage.task
    if "documents" in task.offers:
        return [{"prompt": "", "completion": document.text} for document in task.documents("train", examples)]
    return [completion_columns(task.prompt(item), task.demonstration(item)) for item in stage.train_items(examples)]


def _encoded(stage: StageContext, row: dict[str, Any]) -> list[int]:
    """Token ids of a row as one text, its first word learnt after the beginning token, the end token at its end."""
    from methods.objectives.dataset import rendered

    tokenizer = stage.policy.tokenizer
    end = tokenizer.eos_token_id
    first = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else end
    text = rendered(tokenizer, row)
    ids = list(tokenizer(text["prompt"] + text["completion"], verbose=False).input_ids)
    return [*([] if ids[:1] == [first] else [first]), *ids, *([] if ids[-1:] == [end] else [end])]


def continued_pretraining(
    batch_size: int, length: int, examples: int, replay: Replay = NO_REPLAY
) -> ContinuedPretraining:
    """Read the task's texts, `length` tokens a row."""
    return ContinuedPretraining(batch_size, length, examples, replay)
