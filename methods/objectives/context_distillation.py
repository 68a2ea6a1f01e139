"""Context distillation: the base without a document, under the document's adapter, follows the base that sees it.

Cross-entropy of the student against the teacher's stored top-k log-probabilities along the teacher's own greedy answers
(Charakorn et al. 2026, arXiv 2602.15902, section 3; Snell et al. 2022, arXiv 2209.15189), the mean over an answer's
tokens, then over a document's questions, then over documents; plus `l1` times the mean size of A's and of B's entries.
What is trained is a generator: a hypernetwork that reads training documents, cut into a drawn number of chunks, or
(`evaluated`) a LoRA for each document of the evaluation, moved by the questions about it. Gold answers are not looked
at unless asked for. Under the control `shuffled` the generator is given another document than the teacher.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from harness.contracts import GradientOptimiser, Offer, Signal, Task, TaskRefusal, TextTask
from harness.errors import UserError
from harness.spec import ModelReference
from methods.objectives.document_questions import Answers, Asked, asked_about

if TYPE_CHECKING:
    from harness.context import StageContext
    from harness.generated import GeneratedAdapters


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
    l1: float = 0.0
    name = "context-distillation"
    gives: frozenset[Signal] = frozenset({"gradient"})
    needs: frozenset[Offer] = frozenset({"documents"})

    def refuses(self, task: Task, model: ModelReference | None) -> str | None:
        """A task whose questions cannot be asked without the document, gold answers where there are none."""
        if not isinstance(task, TextTask):
            return TaskRefusal(f"{task.name!r} cannot ask its questions without their documents")
        if self.answers == "gold" and "demonstrations" not in task.offers:
            return TaskRefusal(f"answers=gold needs demonstrations, and task {task.name!r} has none")
        return None

    def trainer(self, stage: StageContext, optimiser: GradientOptimiser) -> Any:
        """A transformers Trainer over documents; UserError where no document has a question that can be taught."""
        from transformers import Trainer, TrainingArguments

        from harness.gradient_loop import trainer_arguments

        if stage.training.gradient_checkpointing:
            raise UserError(
                "gradient_checkpointing refused: what is computed again would be without the documents' adapters; use "
                "accumulation, which needs less memory too."
            )
        asked = asked_about(stage, self._documents(stage), self.answers, self.k)
        if not asked:
            raise UserError(
                "No document fits into the model's window together with its question, so there is no teacher: take "
                "shorter documents or answers=gold."
            )
        if self.documents is None:
            stage.policy.model.hypernetwork.hold([one.text for one in asked], stage.seed("adapters"))
            stage.policy.model.hypernetwork.to(stage.policy.model.base.device)
        update = Update(self, stage, asked)

        class DocumentTrainer(Trainer):  # type: ignore[misc]
            def compute_loss(
                self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
            ) -> Any:
                model.eval()
                return update.loss(inputs["documents"], self.state.global_step)

        return DocumentTrainer(
            model=stage.policy.model,
            args=TrainingArguments(**trainer_arguments(stage, min(self.batch_size, len(asked)))),
            train_dataset=list(range(len(asked))),
            data_collator=lambda places: {"documents": places},
            optimizers=optimiser.create(stage),
        )

    def describe(self) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "batch_size": self.batch_size,
            "documents": "those of the evaluation" if self.documents is None else self.documents,
            "questions": self.questions,
            "answers": f"the base's own with the document, its {self.k} likeliest tokens"
            if self.answers == "teacher"
            else "gold",
        }
        if self.documents is not None:
            shown |= {"most_chunks": self.most_chunks, "shortest": self.shortest, "alone": self.alone, "l1": self.l1}
        return shown

    def _documents(self, stage: StageContext) -> list[Any]:
        task: Any = stage.task
        if self.documents is not None:
            return list(task.documents("train", self.documents))
        protocol = stage.run.spec.evaluation
        wanted = [(protocol.split, protocol.items), *([("val", protocol.curve_items)] if protocol.curve_points else [])]
        return [one for split, count in _widest(wanted).items() for one in _first(task, split, count)]


def _widest(wanted: list[tuple[Any, int]]) -> dict[str, int]:
    """Each split with the most items asked for of it."""
    return {split: max(count for other, count in wanted if other == split) for split, _ in wanted}


def _first(task: Any, split: str, items: int) -> list[Any]:
    """The documents that the first `items` of a split are about."""
    texts = {task.text(item) for item in task.items(split, items)}
    return [document for document in task.documents(split, items) if document.text in texts]


@dataclass(frozen=True)
class Update:
    """What one update computes."""

    objective: ContextDistillation
    stage: StageContext
    asked: list[Asked]
    _phase: dict[int, bool] = field(default_factory=dict)

    def loss(self, places: list[int], step: int) -> Any:
        """The loss of the documents at `places`; everything drawn follows from document and step."""
        import torch

        from methods.objectives.rows_of_answers import answer_rows
        from methods.objectives.top_k import cross_entropy, mean_of_means

        model, stage = self.stage.policy.model, self.stage
        adapters = self._adapters(places, step)
        chosen = []
        for place in places:
            questions, rng = self.asked[place].questions, random.Random(stage.seed("questions", step, place))
            chosen.append(rng.sample(questions, min(len(questions), self.objective.questions)))
        every = [question for questions in chosen for question in questions]
        device = model.base.device
        owner = torch.tensor([at for at, some in enumerate(chosen) for _ in some], device=device)
        rows = answer_rows([one.prompt for one in every], [one.answer for one in every], device)
        with model.applied(adapters) as layout:
            layout.arrange(owner)
            logits = rows.logits(model)
        ids = torch.tensor([place for one in every for place in one.ids], device=device)
        logprobs = torch.tensor([place for one in every for place in one.logprobs], device=device)
        question = torch.repeat_interleave(torch.arange(len(every)), torch.tensor(rows.lengths)).to(device)
        loss = mean_of_means(cross_entropy(logits, ids, logprobs), question, owner)
        return loss + self.objective.l1 * mean_size(adapters) if self.objective.l1 else loss

    def _adapters(self, places: list[int], step: int) -> GeneratedAdapters:
        from methods.generators.chunks import drawn_count

        model, stage, objective = self.stage.policy.model, self.stage, self.objective
        texts = [self.asked[self._read[place]].text for place in places]
        generator = model.hypernetwork
        if objective.documents is None:
            return generator.write(model.base, model.tokenizer, texts)
        documents = []
        for place, text in zip(places, texts, strict=True):
            tokens = len(model.tokenizer(text, add_special_tokens=False).input_ids)
            rng = random.Random(stage.seed("chunks", step, place))
            wanted = drawn_count(rng, self._most(step), tokens, objective.shortest)
            documents.append(generator.chunks(model.tokenizer, text, wanted))
        lengths = [len(chunk) for document in documents for chunk in document]
        stage.run.meters.count(flops=3.0 * generator.network.operations(lengths))
        return generator.write_chunks(model.base, documents)

    def _most(self, step: int) -> int:
        """How many chunks may be drawn at this step; decided as its first part begins, for all its parts."""
        if step not in self._phase:
            self._phase.clear()
            self._phase[step] = self.stage.spent() >= self.objective.alone
        return self.objective.most_chunks if self._phase[step] else 1

    @cached_property
    def _read(self) -> list[int]:
        """Which document the generator is given for each: its own, or under `shuffled` another."""
        order = list(range(len(self.asked)))
        if self.stage.run.spec.control != "shuffled":
            return order
        mixed = random.Random(self.stage.seed("control")).sample(order, len(order))
        return [other for _, other in sorted(zip(mixed, mixed[1:] + mixed[:1], strict=True))]


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
    l1: float = 0.0,
) -> ContextDistillation:
    """Follow the base that sees the document."""
    return ContextDistillation(batch_size, documents, questions, k, answers, most_chunks, shortest, alone, l1)
