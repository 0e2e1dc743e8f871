"""Loading generators of images and videos of texts."""

import warnings

import torch

from atoken.evaluation.models.media_generator_loading import load_media_generator

from ...generation.media_helpers import media_pipeline


def test_the_dtype_is_asked_for_as_diffusers_has_it_now(tmp_path):
    media_pipeline().save_pretrained(tmp_path)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*torch_dtype")
        loaded = load_media_generator(str(tmp_path), "cpu", "bfloat16")
    assert loaded.pipeline.transformer.dtype == torch.bfloat16
    # The weights are told apart as they are in the files.
    assert load_media_generator(str(tmp_path), "cpu").fingerprint == loaded.fingerprint
