"""open_clip's models behind the interface: a tiny random one of the real class, saved and loaded."""

import json

import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from atoken.evaluation.models.open_clip_embedders import OpenClipEmbedder

from ...processing.samples import photo

open_clip = pytest.importorskip("open_clip", reason="open_clip is not installed")

TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
NAME = "atoken-test-tiny"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("open_clip")
    (folder / f"{NAME}.json").write_text(json.dumps(TINY))
    open_clip.add_model_config(folder)
    torch.manual_seed(0)
    path = folder / "weights.pt"
    torch.save(open_clip.create_model(NAME).state_dict(), path)
    return path


@torch.no_grad()
def test_embeddings_are_those_of_the_model_itself(weights):
    model = OpenClipEmbedder(NAME, str(weights))
    picture = photo(40, 56, 0)
    own, _, preprocess = open_clip.create_model_and_transforms(NAME, pretrained=str(weights))
    expected = own.eval().encode_image(preprocess(Image.fromarray(picture))[None])
    frame = torch.from_numpy(picture).permute(2, 0, 1)[None]
    torch.testing.assert_close(model.embed([frame]), expected, atol=1e-5, rtol=0)
    texts = ["A Cat.", "two dogs"]
    expected_texts = own.encode_text(open_clip.get_tokenizer(NAME)(texts))
    torch.testing.assert_close(model.embed_texts(texts), expected_texts, atol=1e-5, rtol=0)
    # Of a clip, unit vectors are averaged.
    clip = torch.cat([frame, frame.flip(-1)])
    both = torch.cat([model.embed([one[None]]) for one in clip])
    torch.testing.assert_close(model.embed([clip])[0], F.normalize(both, dim=-1).mean(0), atol=1e-5, rtol=0)
    assert model.describe()["prompts"] == "as written" and not model.canonical_prompts


def test_what_is_refused(weights):
    with pytest.raises(ValueError, match="model must be one that open_clip.list_models"):
        OpenClipEmbedder("no-such-model", str(weights))
    with pytest.raises(FileNotFoundError, match=r"open_clip's weights of atoken-test-tiny \(none by name\), got None"):
        OpenClipEmbedder(NAME)
    with pytest.raises(ValueError, match="dtype must be one of"):
        OpenClipEmbedder(NAME, str(weights), dtype="int8")
