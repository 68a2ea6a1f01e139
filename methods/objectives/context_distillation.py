"""Context distillation: the base without a document, under the document's adapter, follows the base that sees it.

Cross-entropy of the student against the teacher's stored top-k log-probabilities along the teacher's own greedy answers
(Charakorn et al. 2026, arXiv 2602.15902, section 3; Snell et al. 2022, arXiv 2209.15189), the mean over an answer's
tokens, then over a document's questions, then over documents; plus `l1` times the mean size of A's and of B's entries;
after `alone`, where a document's chunks have gates, plus `gate` times how far they are open (mean over its chunks, then
over documents).
What is trained is a generator: a hypernetwork that reads training documents, cut into a drawn number of chunks, or
(`evaluated`) a LoRA for each document of the evaluation, moved by the questions about it. Gold answers are not looked
at unless asked for. Under the control `shuffled` the generator is given another document than the teacher.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.contracts import GradientOptimiser, Offer, Signal, Task, TaskRefusal, TextTask
from harness.errors import UserError
from harness.spec import Budget, ModelReference
from harness.update_size import Planned, UpdateSize
from methods.objectives.document_batches import DocumentBatches, typical_chunks
from methods.objectives.document_questions import Answers, asked_about

if TYPE_CHECKING:
    from harness.context import StageContext
    from harness.generated import GeneratedAdapters

_LOOKED_AT = 128  # documents, for an estimate


@dataclass(frozen=True)
class ContextDistillation:
    """`batch_size` documents an update, with at most `questions` of each document's questions."""

    batch_size: int
    documents: int | None
    """Training documents; None is those that the run is evaluated on."""
    questions: int
    k: int
    answers: Answers = "teacher"
    most_chunks: int = 1
    shortest: int = 1
    alone: float = 0.0
    growing: float = 0.0
    joined: int = 1
    l1: float = 0.0
    gate: float | None = None
    passes: int | None = None
    """After how many passes over the documents to end, where the budget is not spent before."""
    name = "context-distillation"
    gives: frozenset[Signal] = frozenset({"gradient"})
    needs: frozenset[Offer] = frozenset({"documents"})

    def refuses(self, task: Task, model: ModelReference | None) -> str | None:
        """A task whose questions cannot be asked without the document, gold answers where there are none."""
        if not isinstance(task, TextTask):
            return TaskRefusal(f"{task.name!r} cannot ask its questions without their documents")
        if self.answers == "gold" and "demonstrations" not in task.offers:
            return TaskRefusal(f"answers=gold needs demonstrations, and task {task.name!r} has none")
        if self.gate and not self.alone:
            return "gates are taught to shut after the share `alone` of the budget, and alone is 0: give one"
        return None

    def trainer(self, stage: StageContext, optimiser: GradientOptimiser) -> Any:
        """A trainer of the generator; UserError where no document has a question that can be taught."""
        from methods.generators.trainer import GeneratorTrainer

        asked = asked_about(stage, self._documents(stage), self.answers, self.k)
        if not asked:
            raise UserError(
                "No document fits into the model's window together with its question, so there is no teacher: take "
                "shorter documents or answers=gold."
            )
        if self.documents is None:
            stage.policy.model.hypernetwork.hold([[one.text] for one in asked], stage.seed("adapters"))
        rows = min(self.batch_size, len(asked))
        if self.passes is not None:
            stage.own_budget = Budget(steps=self.passes * math.ceil(len(asked) / rows))
        batches = DocumentBatches(
            stage, asked, rows, self.questions, self.alone, self.most_chunks, self.shortest, self.growing, self.joined
        )
        return GeneratorTrainer(
            stage, rows, batches.batch, lambda inputs: self.loss(stage, inputs), optimiser.create(stage)
        )

    def update_size(self, planned: Planned) -> UpdateSize:
        """By the first documents; those of an evaluation are counted as if each item had its own."""
        task: Any = planned.task
        split = "train" if self.documents is not None else next(iter(planned.evaluated))
        some = task.documents(split, min(_LOOKED_AT, self.documents or _LOOKED_AT))
        asked = [item for document in some for item in document.items[: self.questions]]
        rows, updates = self.batch_size, None
        if self.documents is None:
            count = sum(planned.evaluated.values())
            rows = min(rows, count)
            updates = (self.passes or 0) * math.ceil(count / rows) or None
        answers = (
            [planned.tokens(task.demonstration(item)) + 1 for item in asked] if "demonstrations" in task.offers else []
        )
        tokens = _mean([planned.tokens(task.prompt_with(item, "")) for item in asked]) + _mean(answers)
        configuration = getattr(planned.parameterisation, "configuration", {})
        chunks: list[int] = []
        if "longest" in configuration:
            begun = planned.tokens("")
            lengths = [planned.tokens(one.text) - begun for one in some]
            drawn = (self.most_chunks, self.shortest, self.alone, self.growing)
            found = typical_chunks(lengths, rows, configuration["longest"] - begun, *drawn)
            chunks = [begun + length for length in found]
        return UpdateSize(
            rows=rows * len(asked) / len(some),
            tokens=tokens,
            chunks=tuple(chunks),
            updates=updates,
            **(self._taught(planned, some) if self.answers == "teacher" else {}),
        )

    def _taught(self, planned: Planned, some: list[Any]) -> dict[str, float]:
        """What the teacher is asked: every question of every document, with the document."""
        prompts = [planned.task.prompt_with(item, one.text) for one in some for item in one.items]
        documents = self.documents or sum(planned.evaluated.values())
        tokens = _mean([planned.tokens(prompt) for prompt in prompts[:_LOOKED_AT]])
        return {"taught": len(prompts) / len(some) * documents, "taught_tokens": tokens}

    def loss(self, stage: StageContext, inputs: dict[str, Any]) -> tuple[Any, dict[str, float]]:
        """The loss of a batch of `DocumentBatches`, and what to log beside it."""
        import torch

        from methods.objectives.rows_of_answers import answer_rows
        from methods.objectives.top_k import cross_entropy, mean_of_means

        model = stage.policy.model
        device = model.base.device
        if "chunks" in inputs:
            lengths = [len(chunk) for chunks in inputs["chunks"] for chunk in chunks]
            stage.run.meters.count(flops=3.0 * model.hypernetwork.network.operations(lengths))
            adapters = model.hypernetwork.write_chunks(model.base, inputs["chunks"])
        else:
            adapters = model.write(inputs["texts"])
        every = [question for questions in inputs["questions"] for question in questions]
        owner = torch.tensor([at for at, some in enumerate(inputs["questions"]) for _ in some], device=device)
        rows = answer_rows([one.prompt for one in every], [one.answer for one in every], device)
        with model.applied(adapters) as layout:
            layout.arrange(owner)
            logits = rows.logits(model)
        ids = torch.tensor([place for one in every for place in one.ids], device=device)
        logprobs = torch.tensor([place for one in every for place in one.logprobs], device=device)
        question = torch.repeat_interleave(torch.arange(len(every)), torch.tensor(rows.lengths)).to(device)
        distance = mean_of_means(cross_entropy(logits, ids, logprobs), question, owner)
        with torch.set_grad_enabled(self.l1 > 0 and torch.is_grad_enabled()):
            size = mean_size(adapters)
        values = {"distance": float(distance.detach()), "adapter_size": float(size.detach())}
        loss = distance + self.l1 * size if self.l1 else distance
        if adapters.opened is not None:
            opened = adapters.opened.mean()
            values["open"] = float(opened.detach())
            loss = loss if inputs["alone"][0] else loss + (self.gate or 0.0) * opened
        return loss, values

    def describe(self) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "batch_size": self.batch_size,
            "documents": "those of the evaluation" if self.documents is None else self.documents,
            "questions": self.questions,
            "answers": f"the base's own with the document, its {self.k} likeliest tokens"
            if self.answers == "teacher"
            else "gold",
        }
        if self.passes is not None:
            shown["passes"] = self.passes
        if self.documents is not None:
            shown |= {"most_chunks": self.most_chunks, "shortest": self.shortest, "alone": self.alone}
            shown |= {"growing": self.growing, "joined": self.joined, "l1": self.l1}
            shown |= {} if self.gate is None else {"gate": self.gate}
        return shown

    def _documents(self, stage: StageContext) -> list[Any]:
        task: Any = stage.task
        if self.documents is not None:
            return list(task.documents("train", self.documents))
        return [one for split, count in stage.run.spec.evaluation.asked().items() for one in _first(task, split, count)]


def _mean(values: list[int]) -> float:
    return sum(values) / len(values) if values else 0.0


def _first(task: Any, split: str, items: int) -> list[Any]:
    """The documents that the first `items` of a split are about."""
    texts = {task.text(item) for item in task.items(split, items)}
    return [document for document in task.documents(split, items) if document.text in texts]


def mean_size(adapters: GeneratedAdapters) -> Any:
    """The mean absolute entry of A plus that of B, over what is no padding."""
    ranks = sum(adapters.ranks)
    return sum(
        sum(part.abs().sum() for part in side.values()) / (ranks * sum(part.shape[axis] for part in side.values()))
        for side, axis in ((adapters.down, 2), (adapters.up, 1))
    )


def context_distillation(
    batch_size: int,
    documents: int | None,
    questions: int,
    k: int,
    answers: Answers = "teacher",
    most_chunks: int = 1,
    shortest: int = 1,
    alone: float = 0.0,
    growing: float = 0.0,
    joined: int = 1,
    l1: float = 0.0,
    gate: float | None = None,
    passes: int | None = None,
) -> ContextDistillation:
    """Follow the base that sees the document."""
    return ContextDistillation(
        batch_size, documents, questions, k, answers, most_chunks, shortest, alone, growing, joined, l1, gate, passes
    )
