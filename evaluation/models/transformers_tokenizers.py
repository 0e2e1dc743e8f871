"""The VQ tokenizers of transformers behind the harness's interface: Emu3's, and the encoder of Chameleon's."""

import math
from importlib.metadata import version
from typing import Any

import torch
import transformers
from torch.nn import functional as F

from ..fingerprints import network_fingerprint
from ..interface import Encoded, MediaTokenizer
from .pretrained import load_model


class _VQTokenizer(MediaTokenizer):
    """
    Stores the codes of a VQ model.

    Sides, and the frames of a video, are padded to whole codes with their last values; what comes back is cut to the
    original, and the bits are those of all codes.

    Args:
        path: a folder or a name on the Hub, of the VQ model alone.
        subfolder, revision: as for `from_pretrained`.
        dtype: of the weights and the computation.
        device: where it runs.

    Raises:
        FileNotFoundError: there is no such model.
        ValueError: its weights are not those of the VQ model alone.
    """

    class_name: str

    def __init__(
        self,
        path: str,
        subfolder: str = "",
        revision: str = "main",
        dtype: str = "float32",
        device: str = "cpu",
    ):
        options = {"subfolder": subfolder, "revision": revision, "dtype": getattr(torch, dtype)}
        self.model = load_model(getattr(transformers, self.class_name), path, **options).to(device).eval()
        self.name = f"{self.class_name} {path}"
        self.facts = {"path": path, "subfolder": subfolder, "revision": revision, "dtype": dtype}
        self.spatial = 2 ** (len(self.model.config.channel_multiplier) - 1)

    def _pad(self, media: torch.Tensor, temporal: int) -> torch.Tensor:
        """Pads (T, 3, H, W) uint8 to whole codes: (1, T, 3, H, W) on the model's device."""
        frames, _, height, width = media.shape
        padding = (0, -width % self.spatial, 0, -height % self.spatial, 0, -frames % temporal)
        pixels = F.pad(media.float().transpose(0, 1)[None], padding, mode="replicate")
        return pixels.transpose(1, 2).to(self.model.device)

    def _stored(self, codes: torch.Tensor, size: tuple[int, int, int]) -> Encoded:
        """Stores codes (t, h, w)."""
        codes = codes.cpu()
        bits = codes.numel() * math.ceil(math.log2(self.codebook_sizes[0]))
        return Encoded((codes, size), bits, tuple(codes.shape), codes[..., None])

    def describe(self) -> dict[str, Any]:
        return {
            "class": self.class_name,
            **self.facts,
            "filling": "last values repeated",
            "transformers": version("transformers"),
        }

    def fingerprints(self) -> dict[str, str]:
        return {"model": network_fingerprint(self.model)}


class Emu3Tokenizer(_VQTokenizer):
    """Wraps Emu3VQVAE: images, and videos with 4 frames a code."""

    kinds = frozenset({"image", "video"})
    class_name = "Emu3VQVAE"

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        return (self.model.config.codebook_size,)

    @torch.no_grad()
    def encode(self, media: torch.Tensor) -> Encoded:
        single = len(media) == 1
        pixels = self._pad(media, 1 if single else self.model.config.temporal_downsample_factor) / 127.5 - 1
        # The model cuts its first two axes to these sizes, which for a video would be time and height.
        uncut = torch.tensor([[2**30, 2**30]])
        (codes,) = self.model.encode(pixels[:, 0] if single else pixels, uncut).image_tokens
        return self._stored(codes[None] if single else codes, (len(media), *media.shape[-2:]))

    @torch.no_grad()
    def decode(self, encoded: Encoded) -> torch.Tensor:
        codes, (frames, height, width) = encoded.payload
        codes = codes.to(self.model.device)
        pixels = self.model.decode(codes) if frames == 1 else self.model.decode(codes[None])[0]
        pixels = ((pixels.float().cpu() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        return pixels[:frames, :, :height, :width].contiguous()


class ChameleonTokenizer(_VQTokenizer):
    """Wraps ChameleonVQVAE, of which transformers has the encoder alone: codes are counted, nothing comes back."""

    kinds = frozenset({"image"})
    class_name = "ChameleonVQVAE"
    decodes = False
    RESCALE = 0.0078  # of Chameleon's image processor, a little less than 1 / 127.5

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        return (self.model.config.num_embeddings,)

    @torch.no_grad()
    def encode(self, media: torch.Tensor) -> Encoded:
        pixels = self._pad(media, 1)[:, 0] * self.RESCALE - 1
        codes = self.model.encode(pixels.to(self.model.dtype)).image_tokens
        grid = [side // self.spatial for side in pixels.shape[-2:]]
        return self._stored(codes.view(1, *grid), (len(media), *media.shape[-2:]))

    def decode(self, encoded: Encoded) -> torch.Tensor:
        raise NotImplementedError("transformers has no decoder of Chameleon's images")
