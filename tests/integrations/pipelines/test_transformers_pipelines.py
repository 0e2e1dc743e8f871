"""The pipelines of transformers: features of images, and their comparison with labels."""

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPConfig, CLIPModel, ImageFeatureExtractionPipeline, pipeline
from transformers.pipelines import PIPELINE_REGISTRY

from atoken import AtokenModel, AtokenProcessor, AtokenVisionModel
from atoken.miniature.world import MiniatureWorld

CHECKPOINT = Path(__file__).parents[3] / "checkpoints" / "atoken-tiny"
LABELS = ["a yellow heart", "A Yellow, HEART!", "a pink square"]


def pictures() -> list[Image.Image]:
    """Three of two sizes, the last one drawn by the miniature world: a yellow heart."""
    drawn = np.random.default_rng(0).integers(0, 256, (2, 48, 80, 3), dtype=np.uint8)
    scene = MiniatureWorld("image", "held_out")[0]["sample"].permute(1, 2, 0).numpy()
    return [*map(Image.fromarray, drawn), Image.fromarray(scene)]


@pytest.fixture(scope="module")
def processor() -> AtokenProcessor:
    return AtokenProcessor.from_pretrained(CHECKPOINT)


@pytest.fixture(scope="module")
def model() -> AtokenModel:
    return AtokenModel.from_pretrained(CHECKPOINT, dtype=torch.float32).eval()


@pytest.fixture(scope="module", params=["whole model by name", "tower"])
def extractor(request, processor):
    if request.param == "tower":
        tower = AtokenVisionModel.from_pretrained(CHECKPOINT, dtype=torch.float32)
        return pipeline(
            "image-feature-extraction", model=tower, image_processor=processor.image_processor, device="cpu"
        )
    return pipeline("image-feature-extraction", model=str(CHECKPOINT), dtype=torch.float32, device="cpu")


class TestFeatures:
    @pytest.mark.parametrize("batch_size", [1, 2, 3])
    @torch.no_grad()
    def test_they_are_the_towers(self, extractor, model, processor, batch_size):
        features = extractor(pictures(), batch_size=batch_size)
        pooled = extractor(iter_of(pictures()), batch_size=batch_size, pool=True, return_tensors=True)
        for picture, ours, vector in zip(pictures(), features, pooled, strict=True):
            expected = model.vision_model(**processor(images=[picture]))
            assert np.shape(ours) == tuple(expected.last_hidden_state.shape)
            torch.testing.assert_close(torch.tensor(ours), expected.last_hidden_state, atol=1e-5, rtol=0)
            torch.testing.assert_close(vector, expected.pooler_output, atol=1e-5, rtol=0)

    def test_a_file_keeps_its_transparency(self, extractor, processor, tmp_path):
        Image.new("RGBA", (16, 16), (255, 0, 0, 0)).save(tmp_path / "clear.png")
        white = extractor(Image.new("RGB", (16, 16), "white"), return_tensors=True)
        assert torch.equal(extractor(str(tmp_path / "clear.png"), return_tensors=True), white)

    def test_options_reach_the_image_processor(self, extractor):
        assert len(extractor(pictures()[0], image_processor_kwargs={"max_pixels": 256})) == 1

    def test_copies(self, extractor):
        for again in (copy.copy(extractor), pickle.loads(pickle.dumps(extractor))):
            assert np.allclose(again(pictures()[0]), extractor(pictures()[0]))

    def test_a_model_without_pooling_head(self, processor):
        config = AtokenVisionModel.config_class.from_pretrained(CHECKPOINT)
        config.vision_use_head = False
        tower = AtokenVisionModel(config)
        extract = pipeline(
            "image-feature-extraction", model=tower, image_processor=processor.image_processor, device="cpu"
        )
        assert len(extract(pictures()[0])) == 15
        with pytest.raises(ValueError, match="pool must be False"):
            extract(pictures()[0], pool=True)

    @torch.no_grad()
    def test_the_first_output_of_a_model_is_the_features(self, model, processor):
        inputs = processor(images=pictures()[:1], text=["a red star"])
        texts = inputs.pop("input_ids")
        output = model(**inputs)
        assert torch.equal(output[0], output.last_hidden_state)
        assert torch.equal(model(**inputs, return_dict=False)[0], output.last_hidden_state)
        # As in CLIP and SigLIP, with texts it is the logits.
        compared = model(**inputs, input_ids=texts)
        assert torch.equal(compared[0], compared.logits_per_image)


class TestZeroShot:
    @pytest.fixture(scope="class", params=["by name", "by parts"])
    def classify(self, request, model, processor):
        parts = {"model": str(CHECKPOINT), "dtype": torch.float32}
        if request.param == "by parts":
            parts = {
                "model": model,
                "tokenizer": processor.tokenizer,
                "image_processor": processor.image_processor,
            }
        return pipeline("zero-shot-image-classification", **parts, device="cpu")

    @pytest.mark.parametrize("labels", [LABELS, LABELS[:1], LABELS[2:]])
    @pytest.mark.parametrize("batch_size", [1, 2])
    @torch.no_grad()
    def test_scores_are_the_models_probabilities(self, classify, model, processor, labels, batch_size, caplog):
        results = classify(pictures(), candidate_labels=labels, hypothesis_template="{}", batch_size=batch_size)
        for picture, result in zip(pictures(), results, strict=True):
            expected = model(**processor(images=[picture], text=labels)).logits_per_image.sigmoid()[0].tolist()
            scores = {entry["label"]: entry["score"] for entry in result}
            assert list(scores.values()) == sorted(scores.values(), reverse=True)
            assert scores == pytest.approx(dict(zip(labels, expected, strict=True)), abs=1e-5)
        assert "not supported" not in caplog.text

    def test_the_label_that_is_true_is_found(self, classify):
        best, *_, last = classify(pictures()[2], candidate_labels=LABELS, hypothesis_template="{}")
        assert best["score"] > 0.8 and last["label"] == "a pink square" and last["score"] < 0.1

    def test_nothing_is_decoded(self, classify, monkeypatch):
        monkeypatch.setattr(classify.model.decoder, "forward", None)
        assert len(classify(pictures()[0], candidate_labels=LABELS)) == len(LABELS)

    def test_long_labels_are_cut(self, classify):
        assert len(classify(pictures()[0], candidate_labels=["a red star " * 40])) == 1

    def test_a_model_without_text_tower_is_refused(self, model, processor):
        config = copy.deepcopy(model.config)
        config.text_config = None
        with pytest.raises(ValueError, match="model must have a text tower"):
            pipeline(
                "zero-shot-image-classification",
                model=AtokenModel(config),
                tokenizer=processor.tokenizer,
                image_processor=processor.image_processor,
            )


def iter_of(items: list) -> object:
    """A generator, which pipelines take for a stream."""
    yield from items


def test_models_of_others_get_the_librarys_pipelines(processor):
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**size, "vocab_size": 60, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}
    clip = CLIPModel(CLIPConfig(text_config=text, vision_config={**size, "image_size": 32, "patch_size": 16}))
    for task in ("image-feature-extraction", "zero-shot-image-classification"):
        made = pipeline(
            task, model=clip, tokenizer=processor.tokenizer, image_processor=processor.image_processor, device="cpu"
        )
        assert type(made).__module__.startswith("transformers.pipelines.")
    assert issubclass(
        PIPELINE_REGISTRY.supported_tasks["image-feature-extraction"]["impl"], ImageFeatureExtractionPipeline
    )
