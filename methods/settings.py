"""The settings that methods share: bounds, search range, unit and help text of each in one place.

Defaults stand with the methods; the ranges here are the ones the literature uses for models of half a billion
parameters and more (dossier figures are cited in the recipes). A sweep file may narrow or move a range for its model.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from harness.parameters import DataPath, Scaled, Search
from methods.generators.library import LibraryPath
from methods.objectives.replay import ReplaySource
from methods.objectives.teacher import TeacherName
from methods.objectives.traces import TracePath
from methods.reward_models.card import folder_of

_RATE = Scaled("learning-rate")
LearningRate = Annotated[float, Field(gt=0), Search(1e-6, 1e-3, log=True), _RATE, "peak learning rate of AdamW"]
SecondLearningRate = Annotated[
    float, Field(gt=0), Search(1e-7, 1e-4, log=True), _RATE, "peak learning rate of AdamW in the second stage"
]
AdapterLearningRate = Annotated[float, Field(gt=0), Search(1e-5, 1e-2, log=True), "peak learning rate on an adapter"]
Schedule = Annotated[Literal["constant", "linear"], "learning rate over the budget: constant, or falling to zero"]
BatchSize = Annotated[int, Field(ge=1), "sequences an update"]
Examples = Annotated[int, Field(ge=1), "training items used (all, if the task has fewer)"]
Temperature = Annotated[float, Field(gt=0), "temperature of training samples"]
Beta = Annotated[float, Field(ge=0), Search(0.03, 0.5, log=True), "strength of the pull to the reference model"]
KLBeta = Annotated[float, Field(ge=0), "weight of the KL term to the reference model; 0 is none and loads none"]
SamplesPerPrompt = Annotated[int, Field(ge=2), "completions sampled a prompt to build pairs"]
PairsPerPrompt = Annotated[int, Field(ge=1), "pairs kept a prompt at most"]
SamplingShare = Annotated[float, Field(gt=0, lt=1), "share of the budget that sampling pairs may use"]
GroupSize = Annotated[int, Field(ge=2), "completions a prompt: the group whose mean is the baseline"]
CompletionsPerPrompt = Annotated[int, Field(ge=1), "completions sampled a prompt"]
PromptsPerStep = Annotated[int, Field(ge=1), "prompts an update"]
Minibatches = Annotated[
    int, Field(ge=1), "updates from one batch of rollouts, each on its own part; above 1 the later ones are off-policy"
]
Epochs = Annotated[int, Field(ge=1), "passes over each batch of rollouts; above 1 the later ones are off-policy"]
Epsilon = Annotated[float, Field(gt=0, lt=1), "the ratio to the sampling policy is clipped at 1 - epsilon"]
EpsilonHigh = Annotated[float, Field(gt=0), "the ratio to the sampling policy is clipped at 1 + epsilon_high"]
RewardSource = Annotated[
    Literal[
        "verifier",
        "reward-model",
        "process-reward-model",
        "verifier+reward-model",
        "verifier+process-reward-model",
    ],
    "what training is rewarded for: the task's verifier, a reward model, or both",
]
RewardModel = Annotated[
    str | None, DataPath(), AfterValidator(folder_of), "directory of a finished run of (process-)reward-model"
]
RewardWeight = Annotated[float, Field(gt=0), "weight of a reward model's score beside the verifier's reward"]
HeldOut = Annotated[float, Field(ge=0, lt=1), "share of the prompts that a reward model is measured on, not trained"]
Continuations = Annotated[int, Field(ge=1), "completions sampled from the end of each step to label it"]
Delimiter = Annotated[str, Field(min_length=1), "what ends a step of a solution"]
StepLabels = Annotated[
    Literal["soft", "hard"], "label of a step: the share of right continuations, or whether any was right"
]
StepAggregate = Annotated[
    Literal["min", "product", "mean", "last"], "how the chances of a solution's steps become its score"
]
SamplingRounds = Annotated[
    int, Field(ge=0, le=100), "rounds in which groups of equal rewards are replaced, at most; 0 keeps them all"
]
OverlongShare = Annotated[
    float, Field(ge=0, lt=1), "last share of the allowed tokens in which a completion's length is punished; 0 is none"
]
MaskTruncated = Annotated[bool, "leave completions that did not end within the limit out of the loss"]
ValueLearningRate = Annotated[float, Field(gt=0), "peak learning rate of the value head"]
ValueCoefficient = Annotated[float, Field(ge=0), "weight of the value loss beside the policy's"]
ValueClip = Annotated[float, Field(gt=0), "how far a value may move from the sampling policy's before it is clipped"]
Discount = Annotated[float, Field(gt=0, le=1), "gamma: what a reward one token later is worth"]
Lambda = Annotated[float, Field(ge=0, le=1), "lambda of generalised advantage estimation: 1 trusts rewards alone"]
Baseline = Annotated[
    Literal["running", "batch"], "what a reward is compared with: the running mean of earlier batches, or its batch's"
]
BaselineDecay = Annotated[float, Field(ge=0, lt=1), "share of the old running mean that a batch leaves"]
Rank = Annotated[int, Field(ge=1), Search(2, 32, log=True), "rank of the adapter"]
LoraAlpha = Annotated[float, Field(gt=0), "LoRA scale: the update is multiplied by alpha / rank"]
Sigma = Annotated[
    float, Field(gt=0), Search(3e-4, 1e-2, log=True), Scaled("perturbation"), "standard deviation of the perturbations"
]
AdapterSigma = Annotated[float, Field(gt=0), Search(0.01, 0.3, log=True), "standard deviation of the perturbations"]
StepRatio = Annotated[float, Field(gt=0), Search(0.1, 2.0, log=True), "learning rate alpha as a multiple of sigma"]
EggrollStepRatio = Annotated[
    float, Field(gt=0), Search(0.3, 10.0, log=True), "learning rate alpha as a multiple of sigma"
]
SpsaLearningRate = Annotated[
    float, Field(gt=0), Search(1e-8, 1e-4, log=True), "learning rate of the two-point gradient estimate"
]
SpsaEpsilon = Annotated[float, Field(gt=0), "standard deviation of the two perturbations, MeZO's epsilon"]
Mirrored = Annotated[bool, "antithetic pairs: every second member is the mirror image of the one before it"]
Shaping = Annotated[
    Literal["z", "centred", "centred-rank", "pair-sign", "per-prompt"], "how scores become coefficients of the update"
]
Anchor = Annotated[float, Field(ge=0), "anchored weight decay: strength of the pull to the start weights"]
Probe = Annotated[bool, "move sigma until 20-80% of greedy answers change, before the search begins"]
Alternate = Annotated[bool, "search factor B and factor A in turn instead of both at once"]
SearchSigma = Annotated[
    float, Field(gt=0), Search(0.01, 0.5, log=True), "first step size of CMA-ES, in units of the largest singular value"
]
Fraction = Annotated[float, Field(gt=0, le=1), "share of the singular values, the largest first, that is searched"]
NoiseRank = Annotated[int, Field(ge=1, le=64), "rank of a matrix's perturbation"]
Population = Annotated[int, Field(ge=2), "members a generation"]
Shots = Annotated[int, Field(ge=1, le=64), "solved training items before each question"]
FirstShare = Annotated[float, Field(gt=0, lt=1), "share of the budget that the first stage may use"]
NLLWeight = Annotated[float, Field(ge=0), Search(0.2, 2.0, log=True), "weight of the right answers' log-likelihood"]
KeptPerPrompt = Annotated[int, Field(ge=1), "different right completions kept a prompt at most"]
Rounds = Annotated[int, Field(ge=1, le=8), "rounds of sampling and training, each from where the last one ended"]
SimPOBeta = Annotated[float, Field(gt=0), Search(1.0, 10.0, log=True), "scale of SimPO's mean log-likelihoods"]
Margin = Annotated[float, Field(ge=0), Search(0.3, 3.0, log=True), "SimPO's gamma: the margin that is asked for"]
OddsWeight = Annotated[float, Field(ge=0), Search(0.05, 1.0, log=True), "ORPO's lambda: weight of the odds ratio"]
Tries = Annotated[int, Field(ge=2, le=1024), "answers sampled a question"]
Targets = Annotated[
    str, "adapted layers: all-linear (but the head), attention (blocks), or their last names: q_proj,v_proj"
]
Match = Annotated[
    str,
    "a control: parameters:NAME takes the rank whose parameter count is nearest to that of the parameterisation NAME, "
    "rank:NAME the rank its update may have; `rank` is then not used",
]
ImitationLoss = Annotated[Literal["nll", "dft"], "negative log-likelihood, or weighed by each token's own probability"]
RowLength = Annotated[int, Field(ge=16), "tokens a packed row (the model's window, if that is shorter)"]
ReplayShare = Annotated[float, Field(ge=0, le=0.5), "share of the rows that are replayed from replay_task"]
ReplayTask = Annotated[
    str | dict[str, Any] | None, ReplaySource(), "what is replayed: a task, {name: TASK, ...}, a JSONL or a text file"
]
Restart = Annotated[
    bool, "whether the samples are imitated by the untouched start model (STaR) or by the policy (ReST)"
]
TeacherModel = Annotated[
    str | None, TeacherName(), "who teaches: a model, its directory, or the directory of a finished run; to be named"
]
Traces = Annotated[
    str | None, TracePath(), "stored answers: the directory of a finished run or a JSONL file; to be named"
]
Verified = Annotated[bool, "whether only answers that the task's verifier accepts are learnt"]
AnswersPerPrompt = Annotated[int, Field(ge=1), "answers sampled a prompt"]
DivergenceBeta = Annotated[
    float, Field(ge=0, le=1), Search(choices=(0.0, 0.5, 1.0)), "0 forward KL, 1 reverse KL, between them their mixture"
]
OnPolicyShare = Annotated[float, Field(ge=0, le=1), "share of the updates on the student's own answers (lambda)"]
Seeds = Annotated[int, Field(ge=2), "training items that the first examples are taken from"]
Novelty = Annotated[float, Field(gt=0, le=1), "ROUGE-L to any question there is that a new one must stay below"]
StageShare = Annotated[float, Field(ge=0, lt=1), "share of the budget that this stage may use"]
HypernetworkRate = Annotated[
    float, Field(gt=0), Search(1e-5, 1e-3, log=True), "peak learning rate of AdamW on a hypernetwork"
]
ChunkRank = Annotated[int, Field(ge=1), Search(4, 16, log=True), "ranks that a chunk of a document is given"]
TargetNames = Annotated[str, "last names of the layers that get adapters, with commas: q_proj,v_proj"]
LatentSize = Annotated[int, Field(ge=1), "width of the hypernetwork's latents"]
Latents = Annotated[int, Field(ge=1), "latents that read (a layer, where every layer is written from one state)"]
HypernetworkBlocks = Annotated[int, Field(ge=0), "blocks of the hypernetwork that read"]
HypernetworkHeads = Annotated[int, Field(ge=1), "key heads of a block, of latent / heads width; four query heads each"]
StateReader = Annotated[
    Literal["per-layer", "early-exit"],
    "what is read: each block's input for its own adapter, or the state after a quarter of the blocks for all",
]
ChunkLength = Annotated[int, Field(ge=2), "tokens of a chunk, at most; longer documents are cut"]
ChunksTogether = Annotated[int, Field(ge=1), "chunks read at once; 1 needs the least memory"]
ChunkGate = Annotated[
    Annotated[float, Field(ge=0)] | None,
    "chunks are written as far as a learned gate says: weight in the loss, after `alone`, of how far they are open; "
    "none has no gates",
]
MostChunks = Annotated[int, Field(ge=1), "chunks that a training document is cut into, at most (beyond what it must)"]
ShortestChunk = Annotated[int, Field(ge=1), "tokens that a chunk of a training document has at least"]
SinglePhase = Annotated[
    float, Field(ge=0, le=1), "share of the budget before documents are cut more often than they must be"
]
GrowingLengths = Annotated[
    float, Field(ge=0, le=1), "share of the budget in which documents grow from the shortest to the longest"
]
JoinedDocuments = Annotated[
    int, Field(ge=1), "training documents that are read as one and asked about together, at most, after `alone`"
]
Passes = Annotated[int, Field(ge=1), "passes over the documents, at most"]
DocumentsPerStep = Annotated[int, Field(ge=1), "documents an update"]
OwnExamples = Annotated[int, Field(ge=1), "demonstrations of each task (all, if it has fewer)"]
OwnPasses = Annotated[int, Field(ge=1), "passes over the demonstrations of each task, at most"]
TrainingDocuments = Annotated[int, Field(ge=1), "training documents used (all, if the task has fewer)"]
QuestionsPerDocument = Annotated[int, Field(ge=1), "questions of a document in an update, at most"]
TopK = Annotated[int, Field(ge=1), "likeliest tokens of the teacher that are kept at every place of an answer"]
AnswersOf = Annotated[
    Literal["teacher", "gold"], "learnt along the base's own answers with the document, or the task's gold ones"
]
SizePenalty = Annotated[float, Field(ge=0), "weight of the mean absolute entry of the generated factors"]
GeneratorSize = Annotated[
    Literal["S", "M", "L"], Search(choices=("S", "M", "L")), "whole factors, factors apart, or row by row"
]
Latent = Annotated[
    int, Field(ge=8, multiple_of=4), "width of the hypernetwork's trunk; its hidden layers have 4 times it"
]
TextEncoder = Annotated[str, "what reads the text: base (the base model's states), or a sentence-transformers model"]
Pooling = Annotated[
    Literal["last", "mean", "layers"],
    "the base's states as one vector: the last token's, the mean over tokens, or the means of all layers side by side",
]
TasksPerStep = Annotated[int, Field(ge=1), "different tasks an update"]
PointsPerTask = Annotated[int, Field(ge=1), "demonstrations of each task an update, each with a description of its own"]
DescribedExamples = Annotated[int, Field(ge=1), "training items used (of a folder of tasks: its first so many tasks)"]
Smoothing = Annotated[float, Field(ge=0, lt=1), "label smoothing: share of the target spread over the vocabulary"]
Penalty = Annotated[float, Field(ge=0), "weight of the mean square of the generated factors"]
LibraryRate = Annotated[
    float, Field(gt=0), Search(1e-5, 1e-2, log=True), "peak learning rate of the library's own adapters"
]
Library = Annotated[
    str | None, LibraryPath(), "runs directory with finished adapters of one described task each; None trains its own"
]
