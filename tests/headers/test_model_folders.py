"""What a model folder says about itself, against the model that transformers loads from it."""

import json
import math

import pytest

from atoken import AtokenModel
from atoken_headers.model_folders import describe_model, find_model, is_model_folder, weight_files

from ..cli_samples import save_model


@pytest.mark.parametrize("options", [{}, {"discrete": True}, {"text": True}, {"vision": {"vision_use_head": False}}])
def test_counts_are_those_of_the_loaded_model(tmp_path, options):
    save_model(tmp_path, **options)
    model = AtokenModel.from_pretrained(tmp_path)
    facts = describe_model(str(tmp_path))
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
    assert len(weight_files(tmp_path / "shards")) > 1
    whole, shards = (describe_model(str(tmp_path / name)) for name in ("whole", "shards"))
    assert shards["parameters"] == whole["parameters"]


def test_other_folders_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="model must be a folder, a Hub name or the name"):
        find_model("./nothing")
    with pytest.raises(FileNotFoundError, match="config.json"):
        find_model(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    assert not is_model_folder(tmp_path)
    with pytest.raises(ValueError, match="AtokenModel"):
        describe_model(str(tmp_path))
    save_model(tmp_path / "model")
    config = json.loads((tmp_path / "model/config.json").read_text())
    del config["vision_config"]["patch_size"]
    (tmp_path / "model/config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="cannot be used.*patch_size"):
        describe_model(str(tmp_path / "model"))
