"""sentence-transformers embeds images, videos and texts with a model folder, without a word of configuration."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from atoken import AtokenModel, AtokenProcessor
from atoken_app.publishing import SENTENCE_TRANSFORMERS

CHECKPOINTS = Path(__file__).parents[2] / "checkpoints"


@pytest.mark.parametrize("name", ["atoken-tiny", "atoken-tiny-d"])
def test_checkpoints_say_how_to_embed(name):
    for file_name, content in SENTENCE_TRANSFORMERS.items():
        assert json.loads((CHECKPOINTS / name / file_name).read_text(encoding="utf-8")) == content


@torch.no_grad()
def test_embeddings_are_the_models():
    library = pytest.importorskip("sentence_transformers", minversion="6")
    folder = CHECKPOINTS / "atoken-tiny"
    options = {"model_kwargs": {"dtype": torch.float32}, "device": "cpu"}
    embedder = library.SentenceTransformer(str(folder), **options)
    drawn = np.random.default_rng(0).integers(0, 256, (2, 48, 80, 3), dtype=np.uint8)
    images, texts = (
        list(map(Image.fromarray, drawn)),
        ["a yellow heart", "a pink square at the top", "A Yellow, HEART!"],
    )
    model = AtokenModel.from_pretrained(folder, dtype=torch.float32).eval()
    expected = model(**AtokenProcessor.from_pretrained(folder)(images=images, text=texts))
    np.testing.assert_allclose(embedder.encode(images), expected.image_embeds, atol=1e-5)
    np.testing.assert_allclose(embedder.encode(texts), expected.text_embeds, atol=1e-5)
