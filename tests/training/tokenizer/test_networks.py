"""Which networks a run has: chosen by name, found or named as missing; nothing is left out silently."""

import pytest
import torch
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

from atoken.evaluation.metrics import weight_files
from atoken.evaluation.metrics.st_lpips import StLpipsNetwork
from atoken.training.tokenizer import perceptual
from atoken.training.tokenizer.curriculum import PAPER_LOSSES
from atoken.training.tokenizer.networks import ImageLosses

PAPER = PAPER_LOSSES["image"]


def test_parts_are_all_of_the_stages_or_those_named():
    assert ImageLosses.choose(None, PAPER) == ImageLosses(PAPER, random=False)
    assert ImageLosses.choose("l1,gram-random", PAPER) == ImageLosses({"l1": 1.0, "gram": 1000.0}, random=True)
    assert ImageLosses.choose("l1,clip", PAPER).random is False


@pytest.mark.parametrize(
    "text, weights, message",
    [
        ("l1,gan", PAPER, "losses must be among l1, lpips, .*got 'gan'"),
        ("lpips,gram-random", PAPER, "share one trunk"),
        ("l1,clip", {"l1": 1.0}, "losses must be among those that the stage weighs, l1, got clip"),
        ("l1,st-lpips", {"l1": 1.0}, "losses must be among those that the stage weighs, l1, got st_lpips"),
        ("st-lpips-alex,gram-random", PAPER, "share one trunk"),
        ("lpips,st-lpips", PAPER, "losses must have one distance, .*got lpips, st_lpips"),
        (None, {"st_lpips": 1.0, "st_lpips_alex": 1.0}, "losses must have one distance"),
    ],
)
def test_wrong_parts_are_named(text, weights, message):
    with pytest.raises(ValueError, match=message):
        ImageLosses.choose(text, weights)


def test_st_lpips_takes_the_place_of_lpips():
    chosen = ImageLosses.choose("l1,st-lpips-alex,gram", PAPER).weights
    assert chosen == pytest.approx({"l1": 1.0, "st_lpips_alex": 0.66, "gram": 0.12})
    assert ImageLosses.choose("st-lpips", PAPER).weights == pytest.approx({"st_lpips": 0.43})
    assert ImageLosses.choose("lpips,gram", PAPER).weights == {"lpips": 10.0, "gram": 1000.0}
    own = {"lpips": 10.0, "st_lpips": 7.0, "gram": 5.0}
    assert ImageLosses.choose("st-lpips,gram", own).weights == {"st_lpips": 7.0, "gram": 5.0}


@pytest.mark.parametrize(("name", "trunk", "crops"), [("st-lpips", "vgg", None), ("st-lpips-alex", "alex", 128)])
def test_the_trunk_is_that_of_the_distance(name, trunk, crops, tmp_path, monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr(perceptual, "load_st_lpips", lambda trunk, weights: StLpipsNetwork(trunk))
    found, _ = ImageLosses.choose(f"{name},gram", PAPER).load(None, "nowhere")
    assert found.network.trunk == trunk and not found.training
    assert found.crops == (None if crops is None else perceptual.Crops(crops, 0.25))


def test_missing_weights_are_named_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"vgg16-397923af.pth.*curl -L.*leave the part out of `losses`"):
        ImageLosses.choose("lpips", PAPER).load(None, "nowhere")
    monkeypatch.setattr(weight_files, "find_spec", lambda package: None)
    with pytest.raises(FileNotFoundError, match=r"st-lpips-alex: .*stlpips-pytorch.*leave the part out of `losses`"):
        ImageLosses.choose("st-lpips-alex", PAPER).load(None, "nowhere")
    with pytest.raises(FileNotFoundError, match=r"clip: nowhere.*hf download nowhere.*leave the part out"):
        ImageLosses.choose("clip", PAPER).load(None, "nowhere")


def test_random_weights_only_where_asked_for(tmp_path):
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = CLIPVisionConfig(**vision, image_size=32, patch_size=16, projection_dim=8)
    CLIPVisionModelWithProjection(config).save_pretrained(tmp_path)
    CLIPImageProcessor(image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6]).save_pretrained(tmp_path)
    vgg, clip = ImageLosses.choose("gram-random,clip", PAPER).load(None, str(tmp_path))
    assert vgg is not None and not any(parameter.requires_grad for parameter in vgg.parameters())
    assert clip.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert ImageLosses.choose("l1", PAPER).load(None, "nowhere") == (None, None)
