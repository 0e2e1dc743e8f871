"""After `import atoken`, the auto classes of transformers load a local folder without trust_remote_code."""

import pytest
import torch
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoProcessor, AutoVideoProcessor

from atoken import (
    AtokenConfig,
    AtokenImageProcessor,
    AtokenModel,
    AtokenProcessor,
    AtokenVideoProcessor,
    AtokenVisionConfig,
    AtokenVisionModel,
)

from .helpers import tiny_config


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    torch.manual_seed(0)
    AtokenModel(tiny_config()).save_pretrained(folder)
    AtokenProcessor().save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    "auto_class, expected",
    [
        (AutoConfig, AtokenConfig),
        (AutoModel, AtokenModel),
        (AutoProcessor, AtokenProcessor),
        (AutoImageProcessor, AtokenImageProcessor),
        (AutoVideoProcessor, AtokenVideoProcessor),
    ],
)
def test_auto_class_loads_a_folder(checkpoint, auto_class, expected):
    assert type(auto_class.from_pretrained(checkpoint)) is expected


def test_tower_alone_from_a_full_checkpoint(checkpoint):
    tower, loading = AtokenVisionModel.from_pretrained(checkpoint, output_loading_info=True)
    assert not loading["missing_keys"] and not loading["mismatched_keys"]
    whole = AtokenModel.from_pretrained(checkpoint)
    for (name, value), (_, expected) in zip(
        tower.state_dict().items(), whole.vision_model.state_dict().items(), strict=True
    ):
        assert torch.equal(value, expected), name


def test_tower_folder_and_auto_class(checkpoint, tmp_path):
    AtokenVisionModel.from_pretrained(checkpoint).save_pretrained(tmp_path)
    assert type(AutoConfig.from_pretrained(tmp_path)) is AtokenVisionConfig
    assert type(AutoModel.from_pretrained(tmp_path)) is AtokenVisionModel


def test_tower_from_config():
    assert type(AutoModel.from_config(tiny_config().vision_config)) is AtokenVisionModel
