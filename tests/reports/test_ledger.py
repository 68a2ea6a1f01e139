"""The claims ledger: every shipped claim can be decided by the command that it names, and mistakes have their line."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from cli.sweep_files import find_sweep_file, shipped_recipes
from harness.errors import UserError
from harness.models import load_model
from reports.ledger import Claim, read_ledger
from sweeps.file import read_sweep
from sweeps.recipe import read_recipe
from sweeps.resolve import Sweep, resolve

LEDGER = read_ledger()
KEYS = (
    "es-above-grpo-samples", "es-above-grpo-tokens", "es-above-grpo-flops", "es-steadier-than-grpo", "lora-es-above-es",
    "tied-noise-equals-iid", "rl-forgets-less-than-sft", "multi-task-lora-no-interference",
    "all-linear-above-attention", "squeeze-above-direct-low-rank", "kron-lora-near-lora", "moa-above-equal-loras",
    "sparse-moa-near-soft", "t2l-near-task-loras", "d2l-beyond-the-window", "d2l-faster-than-distilling",
    "sft-dpo-above-sft", "rft-near-grpo", "dpo-lengthens-answers", "simpo-shortens-dpo", "slerp-above-averaging",
    "ties-above-averaging",
)  # fmt: skip


def test_the_ledger_holds_what_is_argued_about() -> None:
    assert set(KEYS) <= set(LEDGER)


def planned(command: str) -> Sweep:
    """The sweep that a claim's command would run."""
    _, verb, name, *options = shlex.split(command)
    if verb == "reproduce":
        assert options == ["--lab"]
        file, document = read_recipe(shipped_recipes()[name]).lab()
    else:
        file, document = read_sweep(find_sweep_file(name))
    return resolve(file, document, load_model(file.model).reference())


@pytest.mark.parametrize("claim", [claim for claim in LEDGER.values() if claim.run], ids=lambda claim: claim.key)
def test_the_command_of_a_claim_has_both_arms_under_its_rules(claim: Claim) -> None:
    sweep = planned(str(claim.run))
    arms = [(arm, arm.component().parameters) for arm in sweep.arms]
    rests = [
        (claim.first.rest(a.entry.name, own), claim.second.rest(b.entry.name, other), own, other, b)
        for a, own in arms
        for b, other in arms
        if a is not b
    ]
    matching = [
        baseline
        for first, second, own, other, baseline in rests
        if first is not None and first == second and all(own.get(name) == other.get(name) for name in claim.alike)
    ]
    assert matching and all(one.trials > 0 or one.untuned == "no training" for one in matching)
    assert len(sweep.file.final.seeds) >= 3 and sweep.file.final.on == "test"
    assert claim.budget is None or list(sweep.file.budget.limits()) == [claim.budget]
    assert not claim.tasks or sweep.task.name in claim.tasks
    assert claim.settings.items() <= sweep.task.parameters.items()
    assert claim.estimand != "retention" or sweep.retention is not None


SOUND = """claim: a is better than b
source: somebody
first: {method: a}
second: {method: b}
expect: above
matters: 0.02
run: beyondrl sweep quickstart
"""


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("claim:", "clame:", "line 1: No key of a claim is called 'clame'. Did you mean 'claim'?"),
        ("{method: a}", "{methd: a}", "line 3: No key of 'first' is called 'methd'. Did you mean 'method'?"),
        ("{method: a}", "{method: []}", "line 3: first.method=[] is not possible"),
        ("above", "abov", "line 5: expect='abov' is not possible"),
        ("0.02", "two", "line 6: matters='two' is not possible"),
        ("0.02", "2", "line 1: accuracy is a share of 1: matters is below 1."),
        ("matters: 0.02", "matters: 0.5\nestimand: spread", "line 1: spread is compared as a ratio"),
        ("run: beyondrl sweep quickstart\n", "", "line 1: a claim has either run, a command, or needs, a sentence."),
        ("run: beyondrl", "run: python", "line 7: run='python sweep quickstart' is not possible"),
        ("source: somebody\n", "", "line 1: 'source' is missing."),
        ("{method: a}", '{method: "a+*"}', "it stands for the same in both"),
        ("source: somebody", "source: somebody\npapers: [es-at-scales]", "line 3: No paper is called 'es-at-scales'"),
        ("source: somebody", "key: other\nsource: somebody", "line 2: the claim 'other' belongs into other.yaml"),
        ("{method: a}", "{method: a", "is not YAML"),
        ("matters: 0.02", "matters: 0.02\nmatters: 0.03", "line 7"),
    ],
)  # fmt: skip
def test_mistakes_are_one_sentence_with_their_line(tmp_path: Path, before: str, after: str, said: str) -> None:
    assert before in SOUND
    (tmp_path / "some.yaml").write_text(SOUND)
    assert read_ledger(tmp_path)["some"].claim == "a is better than b"
    (tmp_path / "some.yaml").write_text(SOUND.replace(before, after, 1))
    with pytest.raises(UserError) as error:
        read_ledger(tmp_path)
    sentence = str(error.value)
    assert "some.yaml" in sentence and said in sentence and "\n" not in sentence


def test_a_file_that_is_no_claim(tmp_path: Path) -> None:
    (tmp_path / "some.yaml").write_text("- a\n")
    with pytest.raises(UserError, match=r"some\.yaml holds no keys; a claim has key, claim, source"):
        read_ledger(tmp_path)
