"""CLIP-Score and PickScore of a tiny random CLIP, against float64 by hand and against torchmetrics."""

import math

import numpy as np
import pytest
import torch
import transformers
from torchmetrics.functional.multimodal import clip_score

from atoken.evaluation.metrics.prompt_scores import PromptScore

from ...processing.samples import photo
from .clip_samples import LONGEST, save_clip

CAPTIONS = ["a photo of a dog", "cat", "a cat of a dog"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_clip(tmp_path_factory.mktemp("clip"))


def media(frames: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.stack([photo(40, 52, seed + i) for i in range(frames)])).permute(0, 3, 1, 2)


def by_hand(folder, frames: torch.Tensor, caption: str) -> float:
    """The mean over frames of the cosine of both embeddings, in float64 from the network's outputs on."""
    model = transformers.CLIPModel.from_pretrained(folder).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        text = model.get_text_features(**tokenizer(caption, return_tensors="pt")).pooler_output[0].double().numpy()
        cosines = []
        for frame in frames:
            inputs = processor(images=[frame.permute(1, 2, 0).numpy()], return_tensors="pt")
            image = model.get_image_features(**inputs).pooler_output[0].double().numpy()
            cosines.append(image @ text / math.sqrt((image @ image) * (text @ text)))
    return float(np.mean(cosines))


@pytest.mark.parametrize("measure", ["clip-score", "pick-score"])
def test_scores_are_scaled_cosines(folder, measure):
    score = PromptScore(measure, str(folder))
    images = [media(1, 10 * i) for i in range(3)]
    learned = transformers.CLIPModel.from_pretrained(folder).logit_scale.detach().double()
    scale = 100 if measure == "clip-score" else math.exp(float(learned))
    expected = [scale * by_hand(folder, image, caption) for image, caption in zip(images, CAPTIONS, strict=True)]
    found = score(images, CAPTIONS)
    assert found.dtype == torch.float64 and found.tolist() == pytest.approx(expected, abs=2e-4)
    assert not math.isclose(*found[:2].tolist(), abs_tol=0.05)  # it does depend on what is scored


def test_a_clip_has_the_mean_over_its_frames(folder):
    clip = media(5)
    expected = 100 * by_hand(folder, clip, CAPTIONS[0])
    assert PromptScore("clip-score", str(folder))([clip], CAPTIONS[:1]).item() == pytest.approx(expected, abs=2e-4)


class WithPooledTensors(torch.nn.Module):
    """A CLIP whose features are tensors, as torchmetrics wants them."""

    def __init__(self, model):
        super().__init__()
        self.model, self.config = model, model.config

    def get_image_features(self, *inputs):
        return self.model.get_image_features(*inputs).pooler_output

    def get_text_features(self, *inputs):
        return self.model.get_text_features(*inputs).pooler_output


def test_clip_score_is_that_of_torchmetrics(tmp_path):
    folder = save_clip(tmp_path)
    model = transformers.CLIPModel.from_pretrained(folder).eval()
    # torchmetrics cuts a mean below 0, as that of these random weights would be.
    with torch.no_grad():
        model.text_projection.weight.neg_()
    model.save_pretrained(folder)
    images = [media(1, 10 * i)[0] for i in range(3)]
    processor = transformers.CLIPProcessor(
        transformers.AutoImageProcessor.from_pretrained(folder), transformers.AutoTokenizer.from_pretrained(folder)
    )
    with torch.no_grad():
        expected = clip_score(images, CAPTIONS, lambda: (WithPooledTensors(model), processor))
    found = PromptScore("clip-score", str(folder))([image[None] for image in images], CAPTIONS).mean()
    assert float(found) == pytest.approx(float(expected), abs=2e-4) and float(expected) > 0


def test_long_captions_are_cut_and_said_to_be(folder):
    score = PromptScore("clip-score", str(folder))
    long = "a dog " * LONGEST
    assert score.is_cut(long) and not score.is_cut("a dog")
    assert score([media(1)], [long]).isfinite().all()


def test_networks_that_are_not_here_are_named(tmp_path, folder):
    with pytest.raises(FileNotFoundError, match="clip-score.*openai/clip-vit-large-patch14.*hf download"):
        PromptScore("clip-score")
    with pytest.raises(FileNotFoundError, match="pick-score.*yuvalkirstain/PickScore_v1"):
        PromptScore("pick-score")
    with pytest.raises(FileNotFoundError, match="pick-score.*nowhere"):
        PromptScore("pick-score", str(tmp_path / "nowhere"))
    partial = save_clip(tmp_path / "partial")
    (partial / "preprocessor_config.json").unlink()
    with pytest.raises(FileNotFoundError, match="clip-score.*AutoImageProcessor"):
        PromptScore("clip-score", str(partial))
