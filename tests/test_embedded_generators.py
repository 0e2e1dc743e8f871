"""The generators in the source tree: small, recorded, read by diffusers, and as good as their records say."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file

from atoken.evaluation.metrics.scene_judge import load_judge
from atoken.evaluation.metrics.scene_judges import JUDGES, PICTURES
from atoken.generation import LightningDiTPipeline, TokenBridgePipeline
from atoken.training.recipes.tiny_generators.card import card_of
from atoken.training.recipes.tiny_generators.measures import shares
from atoken.training.recipes.tiny_generators.scenes import CLASS_NAMES, draw_scenes
from atoken.training.recipes.tiny_generators.subjects import SUBJECTS, sample

CHECKPOINTS = Path(__file__).resolve().parent.parent / "checkpoints"
LARGEST = {"lightning-dit-tiny": 12e6, "token-bridge-tiny": 20e6}  # bytes of weights
PIPELINES = {"lightning-dit-tiny": LightningDiTPipeline, "token-bridge-tiny": TokenBridgePipeline}
SAMPLES = 64  # one of each class

RELEASED = [subject for subject in SUBJECTS if (CHECKPOINTS / subject.name).is_dir()]
every = pytest.mark.parametrize("subject", RELEASED, ids=lambda subject: subject.name)


def record_of(subject) -> dict:
    return json.loads((CHECKPOINTS / subject.name / "training.json").read_text())


def test_lightning_dit_is_there():
    assert "lightning-dit-tiny" in [subject.name for subject in RELEASED]


@every
def test_weights_are_small_and_the_tokenizer_is_a_link(subject):
    folder = CHECKPOINTS / subject.name
    weights = folder / "transformer/diffusion_pytorch_model.safetensors"
    assert weights.stat().st_size < LARGEST[subject.name]
    assert all(value.dtype == torch.bfloat16 for value in load_file(weights).values())
    assert (folder / "vae").resolve() == CHECKPOINTS / subject.tokenizer


@every
def test_the_record_is_whole_and_the_card_says_the_same(subject):
    record = record_of(subject)
    assert {"command", "steps", "minutes", "batch_size", "stage", "protocol", "sampling", "choices"} <= record.keys()
    assert record["samples"]["count"] == 1000 and record["curve"][-1]["loss"] < record["curve"][0]["loss"]
    assert (CHECKPOINTS / subject.name / "README.md").read_text() == card_of(subject, record)


def test_the_judge_knows_true_scenes():
    _, color, shape = load_judge(JUDGES / PICTURES).judged(draw_scenes("reference", 256))
    assert shares(color, shape)["pair"] >= 0.97


@every
def test_samples_are_of_their_classes(subject):
    pipeline = DiffusionPipeline.from_pretrained(CHECKPOINTS / subject.name)
    pipeline.set_progress_bar_config(disable=True)
    assert type(pipeline) is PIPELINES[subject.name]
    names = pipeline.transformer.config.id2label
    assert [names[str(label)] for label in range(len(names))] == [*CLASS_NAMES]
    record = record_of(subject)
    _, color, shape = load_judge(JUDGES / PICTURES).judged(sample(pipeline, range(SAMPLES), 5, record["sampling"]))
    found = shares(color, shape)
    # Three standard deviations of a share of so few samples, and a little.
    for part in ("color", "shape", "pair"):
        expected = record["samples"][part]
        assert found[part] >= expected - 3 * (expected * (1 - expected) / SAMPLES) ** 0.5 - 0.03, (part, found)
