"""What a training starts from and is taught by: AToken or SigLIP 2, found, refused, or named as missing."""

import pytest
import torch
from transformers import CLIPConfig, CLIPTextConfig, Siglip2Model

from atoken import AtokenModel
from atoken.training.starts import load_start, load_teacher

from .stage_samples import WIDTH, make_start
from .tokenizer.siglip2_samples import write_siglip2


@pytest.fixture(scope="module")
def siglip2(tmp_path_factory):
    return write_siglip2(tmp_path_factory.mktemp("siglip2"), WIDTH)


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


def test_a_model_that_is_nowhere_is_named_with_how_to_get_it():
    with pytest.raises(FileNotFoundError, match=r"start: nowhere.*hf download nowhere"):
        load_start("nowhere")
    with pytest.raises(FileNotFoundError, match=r"teacher: nowhere"):
        load_teacher("nowhere")
