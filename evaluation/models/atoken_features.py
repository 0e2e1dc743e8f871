"""Means over the tokens of a sample: dense features, latents or codes of AToken (paper, Figure 8)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from atoken.processing.mesh_reading_atoken import ColoredMesh
from atoken.processing.views_atoken import mesh_views
from atoken.tokenizing.loading import load_model

from ..fingerprints import model_fingerprints
from ..interface import Embedder

LAYERS = ("features", "latents", "codes")


class AtokenFeatures(Embedder):
    """
    Averages the encoder's output over tokens, or the latents before quantization, or the quantized values.

    Args:
        model, device, dtype: as for the tokenizers.
        layer: "features" (hidden width), "latents" (their channels) or "codes" (quantized latents).

    Raises:
        ValueError: no such layer, or codes of a model that has none.
    """

    kinds = frozenset({"image", "video", "object"})
    tasks = frozenset({"projection"})

    def __init__(self, model: str, layer: str = "features", device: str = "cpu", dtype: str = "float32"):
        if layer not in LAYERS:
            raise ValueError(f"layer must be one of {', '.join(LAYERS)}, got {layer!r}")
        self.loaded = load_model(model, device, dtype)
        self.name, self.layer, self.dtype = f"{model} {layer}", layer, dtype
        if layer == "codes" and not self.loaded.discrete:
            raise ValueError(f"layer must be features or latents for {model}, got 'codes'; it is continuous")

    def embed(self, samples: Sequence[torch.Tensor | ColoredMesh]) -> torch.Tensor:
        return torch.stack([self._embed_one(sample) for sample in samples])

    @torch.no_grad()
    def _embed_one(self, sample: torch.Tensor | ColoredMesh) -> torch.Tensor:
        """Embeds one sample: (d,) float32."""
        inputs = self._pack(sample).to(self.loaded.model.device)
        encoded = self.loaded.model.encode(inputs.pixel_values, inputs.coords, inputs.cu_seqlens, pool=False)
        if self.layer == "features":
            tokens = encoded.last_hidden_state
        elif self.layer == "codes":
            tokens = encoded.latents
        else:
            tokens = encoded.latent_dist.mode()
        return tokens.float().mean(0).cpu()

    def _pack(self, sample: torch.Tensor | ColoredMesh) -> Any:
        if isinstance(sample, ColoredMesh):
            return self.loaded.processor(voxels=[mesh_views(sample)])
        frames: np.ndarray = sample.permute(0, 2, 3, 1).numpy()
        if len(frames) == 1:
            return self.loaded.processor(images=[frames[0]], images_kwargs={"input_data_format": "channels_last"})
        options = {"do_sample_frames": False, "input_data_format": "channels_last"}
        return self.loaded.processor(videos=[frames], videos_kwargs=options)

    def embed_texts(self, texts: Sequence[str]) -> torch.Tensor:
        raise NotImplementedError("means over tokens are not comparable with texts")

    def describe(self) -> dict[str, Any]:
        return {
            "class": type(self).__name__,
            "model": self.loaded.name,
            "dtype": self.dtype,
            "layer": self.layer,
            "pooling": "mean over tokens",
        }

    def fingerprints(self) -> dict[str, str]:
        return model_fingerprints(self.loaded, ("vision_model", "latent_proj"))
