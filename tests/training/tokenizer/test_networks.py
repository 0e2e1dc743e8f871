"""Which networks a run has: chosen by name, found or named as missing; nothing is left out silently."""

import pytest
import torch
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    Siglip2Config,
    Siglip2Model,
)

from atoken import AtokenModel
from atoken.evaluation.metrics import weight_files
from atoken.evaluation.metrics.st_lpips import StLpipsNetwork
from atoken.training.recipes.tiny.text_tower import build_tokenizer
from atoken.training.tokenizer import perceptual
from atoken.training.tokenizer.curriculum import PAPER_LOSSES
from atoken.training.tokenizer.networks import ImageLosses, load_start, load_teacher

from ..stage_samples import WIDTH, make_start

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
    with pytest.raises(FileNotFoundError, match=r"start: nowhere.*hf download nowhere"):
        load_start("nowhere")
    with pytest.raises(FileNotFoundError, match=r"teacher: nowhere"):
        load_teacher("nowhere")


def test_random_weights_only_where_asked_for(tmp_path):
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = CLIPVisionConfig(**vision, image_size=32, patch_size=16, projection_dim=8)
    CLIPVisionModelWithProjection(config).save_pretrained(tmp_path)
    CLIPImageProcessor(image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6]).save_pretrained(tmp_path)
    vgg, clip = ImageLosses.choose("gram-random,clip", PAPER).load(None, str(tmp_path))
    assert vgg is not None and not any(parameter.requires_grad for parameter in vgg.parameters())
    assert clip.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert ImageLosses.choose("l1", PAPER).load(None, "nowhere") == (None, None)


@pytest.fixture(scope="module")
def siglip2(tmp_path_factory):
    """Writes a small SigLIP 2 with its tokenizer."""
    folder = tmp_path_factory.mktemp("siglip2")
    tokenizer = build_tokenizer()
    tower = {"hidden_size": WIDTH, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {**tower, "vocab_size": len(tokenizer), "max_position_embeddings": 16, "projection_size": WIDTH}
    text |= {"pad_token_id": 0, "bos_token_id": None, "eos_token_id": 1}
    torch.manual_seed(0)
    Siglip2Model(Siglip2Config(text_config=text, vision_config={**tower, "num_patches": 16})).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_stage_1_starts_from_siglip2_and_is_taught_by_it(siglip2):
    model, processor = load_start(str(siglip2))
    tower, scale = load_teacher(str(siglip2))
    whole = Siglip2Model.from_pretrained(siglip2)
    assert model.config.latent_channels == 32 and processor.tokenizer is not None
    assert float(model.logit_scale) == pytest.approx(float(whole.logit_scale))
    assert float(model.logit_bias) == pytest.approx(float(whole.logit_bias))
    assert scale == pytest.approx(float(whole.logit_scale))
    pixels = torch.rand(1, 3, 64, 64) * 2 - 1
    patches = pixels.unfold(2, 16, 16).unfold(3, 16, 16).permute(0, 2, 3, 4, 5, 1).reshape(1, 16, 768)
    expected = whole.get_image_features(
        pixel_values=patches,
        pixel_attention_mask=torch.ones(1, 16, dtype=torch.int64),
        spatial_shapes=torch.tensor([[4, 4]]),
    ).pooler_output
    torch.testing.assert_close(tower.eval()(pixels).pooler_output, expected, atol=1e-5, rtol=1e-5)
    ids = torch.randint(0, 20, (2, 16))
    expected = whole.get_text_features(input_ids=ids).pooler_output
    torch.testing.assert_close(model.get_text_features(ids).pooler_output, expected, atol=1e-5, rtol=1e-5)


def test_other_models_are_refused(tmp_path):
    tower = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}
    CLIPConfig(text_config=CLIPTextConfig(**tower).to_dict(), vision_config=tower).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="start must be an AToken or SigLIP 2 model, got .* is 'clip'"):
        load_start(str(tmp_path))
    with pytest.raises(ValueError, match="teacher must be an AToken or SigLIP 2 model"):
        load_teacher(str(tmp_path))


def test_a_start_without_texts_is_refused(tmp_path):
    start = make_start(tmp_path / "start")
    model = AtokenModel.from_pretrained(start)
    model.text_model = model.config.text_config = None
    model.save_pretrained(start)
    with pytest.raises(ValueError, match="start must have a text tower and a tokenizer"):
        load_start(str(start))
