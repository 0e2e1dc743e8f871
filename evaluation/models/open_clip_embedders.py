"""MetaCLIP, EVA-CLIP, DFN and PE-Core behind the harness's interface, by open_clip (Tables 3, 5 and 7)."""

import hashlib
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from ..dtypes import checked_dtype
from ..fingerprints import network_fingerprint
from .frame_embedder import FrameEmbedder


class OpenClipEmbedder(FrameEmbedder):
    """
    Embeds with a model of open_clip and its own preprocessing. Prompts come as they are written; a tokenizer that wants
    others makes them so.

    Args:
        model: open_clip's name of an architecture, such as "PE-Core-L-14-336", or "hf-hub:OWNER/NAME".
        pretrained: open_clip's name of the weights, such as "meta", or a file of weights; None with "hf-hub:".
        dtype: of the weights and the computation.
        device: where it runs.

    Raises:
        ImportError: open_clip is missing.
        FileNotFoundError: the weights are not there.
        ValueError: no such architecture or dtype, or weights that were left out, which would be drawn at random.
    """

    canonical_prompts = False

    def __init__(self, model: str, pretrained: str | None = None, dtype: str = "float32", device: str = "cpu"):
        try:
            import open_clip
        except ImportError as error:
            raise ImportError('open-clip needs open_clip: pip install "atoken[open_clip]"') from error
        self.dtype = checked_dtype(dtype)
        in_hub = model.startswith("hf-hub:")
        if not in_hub and model not in open_clip.list_models():
            raise ValueError(
                f"model must be one that open_clip.list_models() names, or hf-hub:OWNER/NAME, got {model!r}"
            )
        tags = open_clip.list_pretrained_tags_by_model(model)
        is_file = pretrained is not None and Path(pretrained).is_file()
        if not in_hub and pretrained not in tags and not is_file:
            known = ", ".join(tags) or "none by name"
            raise FileNotFoundError(
                f"pretrained must be a file or one of open_clip's weights of {model} ({known}), got {pretrained!r}"
            )
        try:
            self.model, _, self.preprocess = open_clip.create_model_and_transforms(
                model, pretrained=pretrained, device=device
            )
        except OSError as error:
            raise FileNotFoundError(
                f"pretrained must be weights that are here or can be fetched, got {model} {pretrained}: {error}"
            ) from error
        self.model = self.model.to(self.dtype).eval()
        self.tokenizer = open_clip.get_tokenizer(model)
        self.device, self.name = torch.device(device), model
        self.facts = {"model": model, "pretrained": pretrained, "dtype": dtype}
        if is_file:
            self.facts["sha256"] = hashlib.sha256(Path(pretrained).read_bytes()).hexdigest()

    def _embed_frames(self, video: torch.Tensor) -> torch.Tensor:
        """Embeds (T, 3, H, W) uint8 as (T, d)."""
        pictures = [Image.fromarray(frame.permute(1, 2, 0).numpy()) for frame in video]
        pixels = torch.stack([self.preprocess(picture) for picture in pictures])
        return self.model.encode_image(pixels.to(self.device, self.dtype)).float().cpu()

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> torch.Tensor:
        return self.model.encode_text(self.tokenizer(list(texts)).to(self.device)).float().cpu()

    def describe(self) -> dict[str, Any]:
        return {
            "class": type(self.model).__name__,
            **self.facts,
            "prompts": "as written",
            "open_clip": version("open_clip_torch"),
        }

    def fingerprints(self) -> dict[str, str]:
        return {"model": network_fingerprint(self.model)}
