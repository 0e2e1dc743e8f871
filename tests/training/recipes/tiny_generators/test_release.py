"""Samples of pipelines, and pipelines released as small checkpoints beside their tokenizers; tiny random models."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file, save_file

from atoken.training.recipes.tiny_generators.release import record_of, release
from atoken.training.recipes.tiny_generators.scenes import draw_scenes
from atoken.training.recipes.tiny_generators.subjects import SUBJECTS, sample, through_tokenizer

from ....cli_samples import save_model
from ....generation.helpers import autoencoder, lightning_pipeline, token_bridge

WEIGHTS = "diffusion_pytorch_model.safetensors"
CLASSES = {"num_classes": 64, "id2label": None}


def test_a_sample_depends_on_its_number_alone():
    pipeline = lightning_pipeline(**CLASSES)
    settings = {"num_inference_steps": 2, "guidance_scale": 1.0}
    several = sample(pipeline, range(3, 6), 7, settings)
    assert several.shape == (3, 3, 64, 64) and several.dtype == np.uint8
    # A gray level of rounding, as products of other sizes add up in another order.
    assert np.abs(sample(pipeline, [4], 7, settings)[0].astype(int) - several[1]).max() <= 1
    assert np.abs(sample(pipeline, [4], 8, settings)[0].astype(int) - several[1]).max() > 1


def test_pictures_go_through_a_tokenizer():
    vae, pictures = autoencoder(), draw_scenes("ceiling", 2)
    with torch.no_grad():
        expected = vae.decode(vae.encode(torch.from_numpy(pictures) / 127.5 - 1).latent_dist.mean).sample
    found = through_tokenizer(vae, pictures) / 127.5 - 1
    np.testing.assert_allclose(found, expected.clamp(-1, 1).numpy(), atol=1 / 255 + 1e-6)


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)
def test_a_released_pipeline_is_read_again(subject, tmp_path):
    discrete = subject.corpus == "codes"
    save_model(tmp_path / subject.tokenizer, discrete=discrete)
    channels = subject.open_tokenizer(tmp_path / subject.tokenizer).config.latent_channels
    if discrete:
        quantizer = subject.open_tokenizer(tmp_path / subject.tokenizer).quantizer
        sizes = {"num_codes": quantizer.num_codebooks, "codebook_size": quantizer.codebook_size}
        sizes |= {"code_channels": quantizer.codebook_dim, "code_levels": quantizer.levels}
        transformer = token_bridge(sample_size=4, **sizes, **CLASSES)
    else:
        statistics = {"latents_mean": [0.0] * channels, "latents_std": [1.0] * channels}
        transformer = lightning_pipeline(**CLASSES).transformer
        transformer = type(transformer).from_config({**transformer.config, "in_channels": channels, **statistics})
    transformer.save_pretrained(tmp_path / "trained")
    released = tmp_path / subject.name
    release(subject, tmp_path / "trained", tmp_path / subject.tokenizer, released)
    assert (released / "vae").is_symlink() and Path("..") / subject.tokenizer == (released / "vae").readlink()
    weights = load_file(released / "transformer" / WEIGHTS)
    kept = transformer.state_dict()
    for name, value in weights.items():
        assert value.dtype == torch.bfloat16
        assert torch.equal(value, kept[name].bfloat16()), name
    assert str(tmp_path) not in (released / "transformer/config.json").read_text()
    again = DiffusionPipeline.from_pretrained(released)
    again.set_progress_bar_config(disable=True)
    assert again([0], num_inference_steps=2, guidance_scale=1.0).images[0].size == (64, 64)


def test_a_record_has_the_curve_from_first_to_last(tmp_path):
    lines = [
        {"step": step, "generation/loss": 1 / step, "minutes": step / 60, "epochs": step / 7, "skipped steps": 0}
        for step in range(1, 201)
    ]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "transformer").mkdir()
    save_file({"a": torch.zeros(2, 3), "b": torch.zeros(5)}, tmp_path / "transformer" / WEIGHTS)
    record = record_of(SUBJECTS[0], tmp_path, tmp_path, {"samples": {"pair": 1 / 3}}, {"command": "run"})
    assert record["weights"] == 11
    assert record["steps"] == 200 and record["minutes"] == 3.3 and record["samples"]["pair"] == 0.3333
    assert len(record["curve"]) == 60 and record["curve"][0] == {"step": 1, "minutes": 0.0, "loss": 1.0}
    assert record["curve"][-1]["step"] == 200 and record["stage"]["generator"] == "lightning-dit"


def test_stage_files_are_those_of_the_subjects():
    assert all(subject.stage_file.is_file() for subject in SUBJECTS)
    assert not replace(SUBJECTS[0], name="other").stage_file.exists()
