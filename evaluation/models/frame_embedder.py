"""Embedders of images, to which a video is its frames."""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch.nn import functional as F

from ..interface import Embedder


class FrameEmbedder(Embedder):
    """Embeds every frame of a video as an image, and averages unit vectors (Table 7)."""

    kinds = frozenset({"image", "video"})

    @torch.no_grad()
    def embed(self, samples: Sequence[torch.Tensor]) -> torch.Tensor:
        frames = torch.cat([self._embed_frames(sample) for sample in samples])
        parts = frames.split([len(sample) for sample in samples])
        return torch.stack([part[0] if len(part) == 1 else F.normalize(part, dim=-1).mean(0) for part in parts])

    @abstractmethod
    def _embed_frames(self, video: torch.Tensor) -> torch.Tensor:
        """Embeds (T, 3, H, W) uint8 as (T, d)."""
