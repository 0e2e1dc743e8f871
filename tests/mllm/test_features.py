"""Which features of the encoder the language model sees, beside those that LLaVA of transformers takes."""

from pathlib import Path

import pytest
import torch

from atoken import AtokenVisionModel
from atoken.mllm import AtokenLlavaImageProcessor
from atoken.mllm.encoding_llava_atoken import encode_media, list_media

ROOT = Path(__file__).parents[2]


@torch.no_grad()
def test_the_last_norm_is_what_hidden_states_lack():
    tower = AtokenVisionModel.from_pretrained(ROOT / "checkpoints/atoken-tiny").eval()
    photo = AtokenLlavaImageProcessor(size={"min_pixels": 0, "max_pixels": 256**2})(
        ROOT / "examples/media/cat.jpg", return_tensors="pt"
    )
    media = list_media(photo.image_grid_thw.tolist(), len(photo.pixel_values), "grid", "rows")
    ours, hidden = (encode_media(tower, photo.pixel_values, media, 4, False, layer, None)[0] for layer in (None, -1))
    torch.testing.assert_close(tower.post_layernorm(hidden), ours, atol=1e-5, rtol=0)
    # The figures of docs/llava.md, of miniature pictures, hold about for a photo.
    assert hidden.std().item() == pytest.approx(20, rel=0.3) and ours.std().item() == pytest.approx(1.2, rel=0.3)
