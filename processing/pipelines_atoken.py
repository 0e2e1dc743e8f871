"""The pipelines of transformers for packed tokens: features of images, and their comparison with texts.

The library's own pipelines put batches together and apart along the first dimension, where packed tensors have tokens
and not samples, and turn logits into probabilities by softmax, as CLIP was trained.
"""

import os
from typing import Any

import torch
from PIL import Image
from transformers import ImageFeatureExtractionPipeline, ZeroShotImageClassificationPipeline
from transformers.image_utils import load_image

from .packing_atoken import join_packed
from .remote_code_atoken import bind_to_package
from .text_processing_atoken import tokenize_text

_MODEL_TYPES = ("atoken", "atoken_vision_model")
_INPUTS = ("pixel_values", "coords", "cu_seqlens")


class AtokenImageFeatureExtractionPipeline(ImageFeatureExtractionPipeline):
    """
    Gives the vision tower's `last_hidden_state` (L, d) of each image, with any `batch_size` and images of any sizes;
    with `pool=True` its `pooler_output` (1, d).

    Made for another model, it is the library's pipeline.
    """

    def __new__(cls, *args: Any, **kwargs: Any):
        return _pipeline_of(cls, ImageFeatureExtractionPipeline, *args, **kwargs)

    def preprocess(self, image: Any, timeout: float | None = None, **image_processor_kwargs: Any) -> dict[str, Any]:
        return {"media": [_packed(self.image_processor, image, timeout, self.dtype, image_processor_kwargs)]}

    def _forward(self, model_inputs: dict[str, Any]) -> dict[str, Any]:
        packed = _joined(model_inputs["media"])
        # Of a whole model the tower alone: features need no decoding.
        tower = getattr(self.model, "vision_model", self.model)
        output = tower(**packed)
        lengths = packed["cu_seqlens"].diff().tolist()
        features = {"last_hidden_state": list(output.last_hidden_state.split(lengths))}  # (L, d) of each sample
        if output.pooler_output is not None:
            features["pooler_output"] = output.pooler_output  # (B, d)
        return features

    def postprocess(self, model_outputs: dict[str, Any], pool: bool | None = None, return_tensors: bool = False) -> Any:
        if pool and "pooler_output" not in model_outputs:
            raise ValueError("pool must be False, since this model has no pooling head, got True")
        # Both are of one sample here, and lie in a dimension or a list of one.
        features = model_outputs["pooler_output"] if pool else model_outputs["last_hidden_state"][0]
        return features if return_tensors else features.tolist()


class AtokenZeroShotImageClassificationPipeline(ZeroShotImageClassificationPipeline):
    """
    Gives each label the sigmoid of its logit: the probability that it is true of the image, whatever the other labels.

    Labels are written and padded as `AtokenProcessor` does. Made for another model, it is the library's pipeline.
    """

    def __new__(cls, *args: Any, **kwargs: Any):
        return _pipeline_of(cls, ZeroShotImageClassificationPipeline, *args, **kwargs)

    def check_model_type(self, supported_models: Any) -> None:
        """Accepts models with a text tower, which the library's list does not name."""
        if getattr(self.model.config, "text_config", None) is None:
            raise ValueError(
                "model must have a text tower to compare images with labels, and this one has none: convert with "
                "text_tower, or take image-feature-extraction"
            )

    def preprocess(
        self,
        image: Any,
        candidate_labels: list[str] | None = None,
        hypothesis_template: str = "This is a photo of {}.",
        timeout: float | None = None,
    ) -> dict[str, Any]:
        texts = [hypothesis_template.format(label) for label in candidate_labels]
        length = min(64, self.model.config.text_config.max_position_embeddings)
        return {
            "candidate_labels": candidate_labels,
            "media": [_packed(self.image_processor, image, timeout, self.dtype, {})],
            "input_ids": [tokenize_text(self.tokenizer, texts, max_length=length)],
        }

    def _forward(self, model_inputs: dict[str, Any]) -> dict[str, Any]:
        input_ids = model_inputs["input_ids"][0]  # the same of every image
        input_ids = input_ids[0] if isinstance(input_ids, list) else input_ids
        images = self.model.get_image_features(**_joined(model_inputs["media"])).pooler_output
        texts = self.model.get_text_features(input_ids).pooler_output
        logits = self.model.compare(*(torch.nn.functional.normalize(each, dim=-1) for each in (images, texts)))
        return {"candidate_labels": model_inputs["candidate_labels"], "logits": logits}  # (B, labels)

    def postprocess(self, model_outputs: dict[str, Any]) -> list[dict[str, Any]]:
        scores = model_outputs["logits"][0].float().sigmoid().tolist()
        pairs = sorted(zip(scores, model_outputs["candidate_labels"], strict=True), key=lambda pair: -pair[0])
        return [{"score": score, "label": label} for score, label in pairs]


def _pipeline_of(cls: type, library_class: type, *args: Any, **kwargs: Any) -> Any:
    """An instance of `cls` to be initialized if the model is ours, else a complete one of the library's class."""
    model = args[0] if args else kwargs.get("model")
    # Copies and pickles are made without arguments.
    if model is None or getattr(getattr(model, "config", None), "model_type", None) in _MODEL_TYPES:
        return object.__new__(cls)
    return library_class(*args, **kwargs)


def _packed(
    image_processor: Any, image: Any, timeout: float | None, dtype: torch.dtype, options: dict[str, Any]
) -> dict[str, torch.Tensor]:
    """Tokens of one image: what a model takes of them."""
    is_file = isinstance(image, (str, os.PathLike)) and os.path.isfile(image)
    # Files and images go to the processor as they are, which keeps to their colors and transparency.
    if not is_file and not isinstance(image, Image.Image):
        image = load_image(image, timeout=timeout)
    inputs = image_processor(image, return_tensors="pt", **options).to(dtype)
    return {name: inputs[name] for name in _INPUTS}


def _joined(media: list[Any]) -> dict[str, torch.Tensor]:
    """One batch of the samples' tokens; the loader of a batch puts each into a list of its own."""
    samples = [sample[0] if isinstance(sample, list) else sample for sample in media]
    return join_packed(samples)


PIPELINES = {
    "image-feature-extraction": AtokenImageFeatureExtractionPipeline,
    "zero-shot-image-classification": AtokenZeroShotImageClassificationPipeline,
}
bind_to_package(__name__)
