"""What models' folders say about themselves, against the models that are loaded from them."""

import json
import math

import pytest
import torch
from diffusers import DiffusionPipeline

import atoken.generation  # noqa: F401 - registers the pipelines
from atoken import AtokenModel
from atoken.mllm import AtokenLlavaForConditionalGeneration
from atoken_headers.descriptions import describe
from atoken_headers.model_folders import CHECKPOINTS

from ..cli_samples import save_model


@pytest.mark.parametrize("options", [{}, {"discrete": True}, {"text": True}, {"vision": {"vision_use_head": False}}])
def test_counts_are_those_of_the_loaded_model(tmp_path, options):
    save_model(tmp_path, **options)
    model = AtokenModel.from_pretrained(tmp_path)
    facts = describe(str(tmp_path))
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    stated = facts["parameters"]
    assert stated.pop("total") == model.num_parameters()
    assert stated == {name: count for name, count in counts.items() if count}
    vision, quantizer = model.config.vision_config, model.config.quantizer_config
    assert facts["encoder"]["hidden_size"] == vision.hidden_size
    assert facts["tokens"]["patch_size"] == list(vision.patch_size)
    assert facts["text_tower"] == (model.text_model is not None)
    assert facts["pooling_head"] == (model.vision_model.head is not None)
    if quantizer is None:
        assert facts["tokens"]["bits_per_token"] == model.config.latent_channels * 16
    else:
        assert facts["tokens"]["quantizer"] == f"FSQ, {quantizer.num_codebooks} x {quantizer.codebook_size}"
        assert facts["tokens"]["bits_per_token"] == quantizer.num_codebooks * math.log2(quantizer.codebook_size)


def test_shards_are_added_up(tmp_path):
    model = save_model(tmp_path / "whole")
    model.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    whole, shards = (describe(str(tmp_path / name)) for name in ("whole", "shards"))
    assert shards["parameters"] == whole["parameters"]


@pytest.mark.parametrize(
    "name", ["lightning-dit-tiny", "token-bridge-tiny", "text-to-media-tiny", "image-to-object-tiny"]
)
def test_generators(name):
    facts = describe(name)
    pipeline = DiffusionPipeline.from_pretrained(CHECKPOINTS / name)
    assert facts["model"] == name and facts["pipeline"] == type(pipeline).__name__
    assert facts["parts"] == {
        part: type(each).__name__ for part, each in pipeline.components.items() if each is not None
    }
    modules = {part: each for part, each in pipeline.components.items() if isinstance(each, torch.nn.Module)}
    saved = {part: describe_saved(part, each) for part, each in modules.items()}
    assert facts["parameters"] == {**saved, "total": sum(saved.values())}
    assert facts["files"]["model_index.json"] == (CHECKPOINTS / name / "model_index.json").stat().st_size
    assert any(path.startswith("transformer/") or path.startswith("latent_transformer/") for path in facts["files"])


def describe_saved(part, module):
    """What a part's folder stores; an autoencoder there has the whole tokenizer's weights."""
    if part == "vae":
        return describe("atoken-tiny-d" if module.config.quantizer_config else "atoken-tiny")["parameters"]["total"]
    return sum(value.numel() for value in module.state_dict().values())


def test_a_multimodal_language_model():
    facts = describe("atoken-tiny-llava")
    model = AtokenLlavaForConditionalGeneration.from_pretrained(CHECKPOINTS / "atoken-tiny-llava")
    assert facts["architecture"] == "AtokenLlavaForConditionalGeneration"
    assert facts["parameters"] == {
        "language_model": model.model.language_model.num_parameters(),
        "multi_modal_projector": sum(weight.numel() for weight in model.model.multi_modal_projector.parameters()),
        "vision_tower": model.model.vision_tower.num_parameters(),
        "total": model.num_parameters(),
    }
    assert facts["language_model"]["model_type"] == model.config.text_config.model_type
    assert facts["vision_tower"]["hidden_size"] == model.config.vision_config.hidden_size


def test_other_models_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="config.json or model_index.json"):
        describe(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ValueError, match="model must be an AtokenModel .* got another one"):
        describe(str(tmp_path))
    save_model(tmp_path / "model")
    config = json.loads((tmp_path / "model/config.json").read_text())
    del config["vision_config"]["patch_size"]
    (tmp_path / "model/config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="cannot be used.*patch_size"):
        describe(str(tmp_path / "model"))


def test_a_pipeline_has_no_parts_outside_of_its_folder(tmp_path):
    save_model(tmp_path / "secret")
    folder = tmp_path / "generator"
    folder.mkdir()
    (folder / "model_index.json").write_text(
        json.dumps({"_class_name": "Pipeline", "../secret": ["atoken", "AtokenModel"], "vae": ["a", "B"]})
    )
    with pytest.raises(FileNotFoundError, match="model must have weights"):
        describe(str(folder))
