"""Encoders of images, videos and texts of transformers behind the harness's interface (Tables 3, 5 and 7)."""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import torch
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer, AutoVideoProcessor

from ..fingerprints import network_fingerprint
from ..interface import Embedder
from .frame_embedder import FrameEmbedder
from .pretrained import load_model, load_pretrained


class _TransformersEmbedder(Embedder):
    """
    Embeds pictures and texts with the towers of one model.

    Args:
        path: a folder or a name on the Hub, with model, processor and tokenizer.
        revision: as for `from_pretrained`.
        dtype: of the weights and the computation.
        device: where it runs.

    Raises:
        FileNotFoundError: there is no such model.
        ValueError: a model without towers of pictures and texts, of another kind, or without some of its weights.
    """

    needed: str  # the method that embeds pictures
    processor_class: Any

    def __init__(self, path: str, revision: str = "main", dtype: str = "float32", device: str = "cpu"):
        self.model = (
            load_model(AutoModel, path, revision=revision, dtype=getattr(torch, dtype), trust_remote_code=False)
            .to(device)
            .eval()
        )
        for method in (self.needed, "get_text_features"):
            if not hasattr(self.model, method):
                given = f"{path}, a {type(self.model).__name__}"
                raise ValueError(f"path must be a model with {method}, got {given}")
        self.processor = load_pretrained(self.processor_class, path, revision=revision, trust_remote_code=False)
        self.tokenizer = load_pretrained(AutoTokenizer, path, revision=revision, trust_remote_code=False)
        self.name = path
        self.canonical_prompts = self.model.config.model_type != "clip"
        prompts = "canonicalized" if self.canonical_prompts else "as written"
        self.facts = {"path": path, "revision": revision, "dtype": dtype, "prompts": prompts}

    def _to_device(self, inputs: Any) -> dict[str, torch.Tensor]:
        model = self.model
        return {
            name: value.to(model.device, model.dtype if value.is_floating_point() else None)
            for name, value in inputs.items()
        }

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> torch.Tensor:
        length = self.model.config.text_config.max_position_embeddings
        family = self.model.config.model_type
        if family in ("siglip", "siglip2") and getattr(self.tokenizer, "do_lower_case", True):
            # These towers were trained on small letters; the tokenizer of SigLIP 2 in fixed resolutions keeps capitals.
            texts = [text.lower() for text in texts]
        padding = "max_length" if family in ("siglip", "siglip2", "videoprism") else True
        inputs = self.tokenizer(list(texts), padding=padding, max_length=length, truncation=True, return_tensors="pt")
        inputs.pop("token_type_ids", None)
        if family in ("siglip", "siglip2"):
            # These towers were trained to look at the padding.
            inputs.pop("attention_mask", None)
        return self.model.get_text_features(**self._to_device(inputs)).pooler_output.float().cpu()

    def describe(self) -> dict[str, Any]:
        return {"class": type(self.model).__name__, **self.facts, "transformers": version("transformers")}

    def fingerprints(self) -> dict[str, str]:
        return {"model": network_fingerprint(self.model)}


class ImageTextEmbedder(FrameEmbedder, _TransformersEmbedder):
    """Embeds with CLIP, SigLIP or SigLIP 2 and their own image processors."""

    needed = "get_image_features"
    processor_class = AutoImageProcessor

    def _embed_frames(self, video: torch.Tensor) -> torch.Tensor:
        """Embeds (T, 3, H, W) uint8 as (T, d)."""
        inputs = self._to_device(self.processor(images=list(video), return_tensors="pt"))
        return self.model.get_image_features(**inputs).pooler_output.float().cpu()


class VideoTextEmbedder(_TransformersEmbedder):
    """
    Embeds with VideoPrism, which has positions for `num_frames` of its configuration: so many are taken evenly of those
    that the set has chosen, some of them repeatedly where the set has fewer.
    """

    kinds = frozenset({"video"})
    needed = "get_video_features"
    processor_class = AutoVideoProcessor

    @torch.no_grad()
    def embed(self, samples: Sequence[torch.Tensor]) -> torch.Tensor:
        rows, count = [], self.model.config.vision_config.num_frames
        for sample in samples:
            # For another number the class adds too few or too many positions: an error, or, for one frame, no error.
            chosen = torch.arange(count) * len(sample) // count
            inputs = self.processor(videos=[sample[chosen]], do_sample_frames=False, return_tensors="pt")
            rows.append(self.model.get_video_features(**self._to_device(inputs)).pooler_output.float().cpu())
        return torch.cat(rows).flatten(1)
