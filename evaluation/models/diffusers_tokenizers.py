"""The autoencoders of diffusers behind the harness's interface (Tables 3, 4 and 6)."""

import math
from importlib.metadata import version
from typing import Any

import torch
from torch.nn import functional as F

from atoken.tokenizing.autoencoders import measured_compression

from ..dtypes import checked_dtype
from ..fingerprints import network_fingerprint
from ..interface import Encoded, MediaTokenizer
from .pretrained import load_pretrained


class DiffusersTokenizer(MediaTokenizer):
    """
    Stores the mode of one autoencoder's posterior, unscaled, in `latent_dtype`.

    Sides are padded to what the model compresses, frames to its 1 + r k, with their last values; what comes back is
    cut to the original, and the bits are those of all latents. Models of single images take videos frame by frame.

    Args:
        path: a folder or a name on the Hub.
        subfolder, revision: as for `from_pretrained`.
        dtype: of the weights and the computation.
        latent_dtype: in which latents are stored.
        device: where it runs.
        tiling: spatial tiles, which bound the memory of high resolutions.

    Raises:
        ImportError: diffusers is missing.
        FileNotFoundError: there is no such model.
        ValueError: no such dtype, or tiles of a class that has none.
    """

    kinds = frozenset({"image", "video"})
    class_name: str
    is_video = False
    has_tiles = True

    def __init__(
        self,
        path: str,
        subfolder: str | None = None,
        revision: str | None = None,
        dtype: str = "float32",
        latent_dtype: str = "bfloat16",
        device: str = "cpu",
        tiling: bool = False,
    ):
        try:
            import diffusers
        except ImportError as error:
            raise ImportError(f'{self.class_name} needs diffusers: pip install "atoken[diffusers]"') from error
        wanted, stored = checked_dtype(dtype), checked_dtype(latent_dtype, "latent_dtype")
        options = {"subfolder": subfolder, "revision": revision, "dtype": wanted}
        self.model = load_pretrained(getattr(diffusers, self.class_name), path, **options).to(device).eval()
        if tiling and not self.has_tiles:
            raise ValueError(f"tiling must be false for {self.class_name}, got true; it has no tiles")
        self.name, self.latent_dtype = f"{self.class_name} {path}", stored
        self.facts = {"path": path, "subfolder": subfolder, "revision": revision, "dtype": dtype, "tiling": tiling}
        _, self.temporal, self.spatial = measured_compression(self._encode, self.is_video)
        if tiling:
            self._enable_tiling()

    def _enable_tiling(self) -> None:
        self.model.enable_tiling()

    def _encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Encodes (1, 3, T, H, W) in [-1, 1] to (1, c, t, h, w)."""
        pixels = pixels.to(self.model.device, self.model.dtype)
        if self.is_video:
            return self._latents(pixels)
        frames = [self._latents(frame) for frame in pixels[0].transpose(0, 1).split(1)]
        return torch.stack(frames, dim=2)

    def _latents(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.model.encode(pixels).latent_dist.mode()

    def _pixels(self, latents: torch.Tensor) -> torch.Tensor:
        return self.model.decode(latents).sample

    @torch.no_grad()
    def encode(self, media: torch.Tensor) -> Encoded:
        frames, _, height, width = media.shape
        pixels = (media.float() / 127.5 - 1).transpose(0, 1)[None]  # (1, 3, T, H, W)
        padding = (0, -width % self.spatial, 0, -height % self.spatial, 0, -(frames - 1) % self.temporal)
        latents = self._encode(F.pad(pixels, padding, mode="replicate"))
        return self._stored(latents, (frames, height, width))

    def _stored(self, latents: torch.Tensor, size: tuple[int, int, int]) -> Encoded:
        latents = latents.to(self.latent_dtype).cpu()
        bits = latents.numel() * self.latent_dtype.itemsize * 8
        return Encoded((latents, size), bits, tuple(latents.shape[1:]))

    @torch.no_grad()
    def decode(self, encoded: Encoded) -> torch.Tensor:
        latents, (frames, height, width) = encoded.payload
        latents = latents.to(self.model.device)
        latents = latents.to(self.model.dtype) if latents.is_floating_point() else latents
        if self.is_video:
            pixels = self._pixels(latents)[0].transpose(0, 1)
        else:
            pixels = torch.cat([self._pixels(frame) for frame in latents.unbind(2)])
        pixels = ((pixels.float().cpu() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        return pixels[:frames, :, :height, :width].contiguous()

    def describe(self) -> dict[str, Any]:
        return {
            "class": self.class_name,
            **self.facts,
            "latent_dtype": str(self.latent_dtype).removeprefix("torch."),
            "compression": [self.temporal, self.spatial, self.spatial],
            "filling": "last values repeated",
            "posterior": "mode",
            "diffusers": version("diffusers"),
        }

    def fingerprints(self) -> dict[str, str]:
        return {"model": network_fingerprint(self.model)}


class KLTokenizer(DiffusersTokenizer):
    """
    Wraps AutoencoderKL: SD, SD3, FLUX.1, and the layout of VA-VAE (16x16, 32 channels).

    VA-VAE is published in the layout of latent diffusion; `vavae_conversion.py` converts it.
    """

    class_name = "AutoencoderKL"


class WanTokenizer(DiffusersTokenizer):
    """Wraps AutoencoderKLWan: Wan 2.1 (8x8, 16 channels) and 2.2 (16x16, 48 channels)."""

    class_name = "AutoencoderKLWan"
    is_video = True


class HunyuanVideoTokenizer(DiffusersTokenizer):
    """Wraps AutoencoderKLHunyuanVideo."""

    class_name = "AutoencoderKLHunyuanVideo"
    is_video = True


class CosmosTokenizer(DiffusersTokenizer):
    """Wraps AutoencoderKLCosmos, which is continuous."""

    class_name = "AutoencoderKLCosmos"
    is_video = True
    has_tiles = False  # its switch has no effect


class QwenImageTokenizer(DiffusersTokenizer):
    """Wraps AutoencoderKLQwenImage."""

    class_name = "AutoencoderKLQwenImage"
    is_video = True


class DCTokenizer(DiffusersTokenizer):
    """Wraps AutoencoderDC, which has no posterior."""

    class_name = "AutoencoderDC"

    def _enable_tiling(self) -> None:
        """Sets steps of whole codes: at 128 x 128 the class's 448 pixels are 3.5 codes, of which it would count 3."""
        step = self.model.tile_sample_stride_height // self.spatial * self.spatial
        self.model.enable_tiling(tile_sample_stride_height=step, tile_sample_stride_width=step)

    def _latents(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.model.encode(pixels).latent


class VQTokenizer(DiffusersTokenizer):
    """Wraps VQModel: one codebook, whose indices are stored."""

    class_name = "VQModel"
    has_tiles = False

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        return (self.model.config.num_vq_embeddings,)

    def _latents(self, pixels: torch.Tensor) -> torch.Tensor:
        """Gives (1, 1, h, w): indices in place of channels."""
        latents = self.model.encode(pixels).latents
        indices = self.model.quantize(latents)[2][2]
        return indices.reshape(1, 1, *latents.shape[-2:])

    def _pixels(self, latents: torch.Tensor) -> torch.Tensor:
        shape = (len(latents), *latents.shape[-2:], self.model.quantize.vq_embed_dim)
        if self.model.config.lookup_from_codebook:
            return self.model.decode(latents.flatten(), force_not_quantize=True, shape=shape).sample
        quantized = self.model.quantize.get_codebook_entry(latents.flatten(), shape)
        return self.model.decode(quantized, force_not_quantize=True).sample

    def _stored(self, latents: torch.Tensor, size: tuple[int, int, int]) -> Encoded:
        codes = latents[0, 0].cpu()  # (t, h, w)
        bits = codes.numel() * math.ceil(math.log2(self.codebook_sizes[0]))
        return Encoded((latents.cpu(), size), bits, tuple(codes.shape), codes[..., None])
