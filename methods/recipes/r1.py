"""The stages of DeepSeek-R1 on one budget: cold start, RL, rejection-sampled SFT of the start model, RL, distillation.

1. supervised fine-tuning on demonstrations; 2. GRPO on the verifiable reward; 3. right answers of that policy are
imitated by the start model anew (the paper fine-tunes the base model, not the RL checkpoint); 4. GRPO again; 5. if
`distil_share` is above 0, right answers of the final policy are imitated by the start model (section 2.4, where the
student is a smaller one). The paper's data beside the task (writing, safety, preferences) have no part here.
"""

from __future__ import annotations

from harness.contracts import Pipeline, Train
from harness.errors import UserError
from harness.registry import method
from methods.objectives.grpo import group_relative
from methods.objectives.rejection import rejection
from methods.objectives.sft import demonstrations
from methods.optimisers.adamw import adamw
from methods.parameterisations.full import full
from methods.settings import (
    BatchSize,
    Examples,
    FirstShare,
    GroupSize,
    KeptPerPrompt,
    LearningRate,
    PromptsPerStep,
    SamplesPerPrompt,
    SamplingShare,
    SecondLearningRate,
    StageShare,
    Temperature,
)


@method("r1", version=1, source="DeepSeek-AI 2025 (R1), arXiv 2501.12948, section 2.3; distillation: section 2.4")
def r1(
    learning_rate: LearningRate = 1e-5,
    grpo_learning_rate: SecondLearningRate = 1e-6,
    sft_share: FirstShare = 0.15,
    grpo_share: StageShare = 0.35,
    rejection_share: StageShare = 0.2,
    distil_share: StageShare = 0.0,
    batch_size: BatchSize = 32,
    group_size: GroupSize = 8,
    prompts_per_step: PromptsPerStep = 16,
    samples: SamplesPerPrompt = 8,
    keep: KeptPerPrompt = 4,
    sampling_share: SamplingShare = 0.5,
    temperature: Temperature = 1.0,
    examples: Examples = 2000,
) -> Pipeline:
    """Cold start, GRPO, the start model anew on its right answers, GRPO; if wished, distilled into the start model."""
    last = 1.0 - sft_share - grpo_share - rejection_share - distil_share
    if last <= 0 or min(grpo_share, rejection_share) <= 0:
        raise UserError(
            "r1: sft_share, grpo_share and rejection_share must be above 0 and leave some of the budget for the last "
            f"GRPO, which now has {last:g} of it."
        )
    imitation, reward = adamw(learning_rate, "linear"), adamw(grpo_learning_rate, "constant")
    grpo = group_relative(group_size, prompts_per_step, 0.0, temperature, examples)
    right = rejection(batch_size, examples, samples, keep, temperature, sampling_share, restart=True)
    stages = [
        Train(demonstrations(batch_size, examples), full(), imitation, share=sft_share),
        Train(grpo, full(), reward, share=grpo_share),
        Train(right, full(), imitation, share=rejection_share),
        Train(grpo, full(), reward, share=last if distil_share else None),
    ]
    return Pipeline.of(*stages, *([Train(right, full(), imitation)] if distil_share else []))
