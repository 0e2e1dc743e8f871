"""The generator of texts in the source tree: small, recorded, read by diffusers, and as good as its record says."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file

from atoken.evaluation.metrics.scene_judges import load_scene_judges
from atoken.generation import TextToMediaPipeline
from atoken.training.recipes.tiny_text_to_media.card import card_of
from atoken.training.recipes.tiny_text_to_media.measures import right_in
from atoken.training.recipes.tiny_text_to_media.release import NAME, TOKENIZER
from atoken.training.recipes.tiny_text_to_media.sampling import sample
from atoken.training.recipes.tiny_text_to_media.worlds import KINDS, caption_of, drawn, measured_scenes

CHECKPOINTS = Path(__file__).resolve().parent.parent / "checkpoints"
LARGEST = 18e6  # bytes of all weights
SAMPLES = {"image": 48, "video": 16}

released = pytest.mark.parametrize("folder", [each for each in (CHECKPOINTS / NAME,) if each.is_dir()])


def record_of(folder: Path) -> dict:
    return json.loads((folder / "training.json").read_text())


@released
def test_weights_are_small_and_the_tokenizer_is_a_link(folder):
    files = [folder / "transformer/diffusion_pytorch_model.safetensors", folder / "text_encoder/model.safetensors"]
    assert sum(file.stat().st_size for file in files) < LARGEST
    assert all(value.dtype == torch.bfloat16 for file in files for value in load_file(file).values())
    assert (folder / "vae").resolve() == CHECKPOINTS / TOKENIZER


@released
def test_the_record_is_whole_and_the_card_says_the_same(folder):
    record = record_of(folder)
    assert {"command", "data", "protocol", "tokenizer", "weights", "image_stage", "video_stage"} <= record.keys()
    for kind in KINDS:
        curve = record[f"{kind}_stage"]["curve"]
        assert curve[-1]["loss"] < curve[0]["loss"]
        assert {"samples", "ceiling", "scenes", "seen", "chance", "zero_shot", "sampling"} <= record[kind].keys()
    assert (folder / "README.md").read_text() == card_of(record)


@released
def test_the_judges_know_true_scenes(folder):
    judges = load_scene_judges()
    for kind in KINDS:
        scenes, expected = measured_scenes(kind, "held_out", 64, seed=99), record_of(folder)[kind]["scenes"]
        found = right_in(scenes, judges.judged(drawn(scenes), kind))
        assert all(found[part] >= expected[part] - 0.12 for part in found), (kind, found)


@released
@pytest.mark.parametrize("kind", KINDS)
def test_samples_show_what_their_captions_say(folder, kind):
    pipeline = DiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    assert type(pipeline) is TextToMediaPipeline
    count, expected = SAMPLES[kind], record_of(folder)[kind]["samples"]
    scenes = measured_scenes(kind, "held_out", count, seed=98)
    made = sample(pipeline, [caption_of(scene) for scene in scenes], kind, 5)
    found = right_in(scenes, load_scene_judges().judged(made, kind))
    # Three standard deviations of a share of so few samples, and a little.
    for part, share in found.items():
        assert share >= expected[part] - 3 * (expected[part] * (1 - expected[part]) / count) ** 0.5 - 0.03, (
            part,
            found,
        )
