"""Cosmos Tokenizer 0.1, published as encoder.jit and decoder.jit: CI, DI, CV and DV (Tables 3, 4 and 6)."""

import hashlib
import math
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from ..dtypes import checked_dtype
from ..interface import Encoded, MediaTokenizer

ENCODER, DECODER = "encoder.jit", "decoder.jit"
LEVELS = (8, 8, 8, 5, 5, 5)  # of the discrete ones' FSQ; one index stands for all six


class CosmosTorchScript(MediaTokenizer):
    """
    Stores the latents of a continuous Cosmos 0.1, or the indices of a discrete one.

    The kind follows from what the encoder takes and gives. Videos pass in windows of `window` frames, as the authors'
    program does; sides and frames are padded to whole latents with their last values, and what comes back is cut. The
    1.0 series is another model: the adapter `cosmos`.

    Args:
        path: folder with encoder.jit and decoder.jit.
        video: whether it is a tokenizer of videos (CV, DV); images are videos of one frame to it.
        trust_code: must be true: TorchScript files are programs, which run on this machine.
        dtype: of the weights and the computation.
        latent_dtype: in which latents are stored.
        device: where it runs.
        window: frames at a time, 1 + a multiple of the temporal compression.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: no trust, a file that is no TorchScript, no such dtype, or a window that does not fit.
    """

    def __init__(
        self,
        path: str,
        video: bool = False,
        trust_code: bool = False,
        dtype: str = "bfloat16",
        latent_dtype: str = "bfloat16",
        device: str = "cpu",
        window: int = 17,
    ):
        wanted, stored = checked_dtype(dtype), checked_dtype(latent_dtype, "latent_dtype")
        files = [Path(path) / name for name in (ENCODER, DECODER)]
        missing = [str(file) for file in files if not file.is_file()]
        if missing:
            raise FileNotFoundError(
                f"path must be a folder with {ENCODER} and {DECODER}, as nvidia/Cosmos-0.1-Tokenizer-* on the Hub, got "
                f"{path} without {', '.join(missing)}"
            )
        if trust_code is not True:
            raise ValueError(
                f"trust_code must be true for {path}, got {trust_code!r}: TorchScript files are programs, not only "
                "weights; set it if you trust where they come from"
            )
        self.dtype, self.latent_dtype = wanted, stored
        self.device, self.video, self.window = torch.device(device), video, window
        self.encoder, self.decoder = (_load(file, self.device, self.dtype) for file in files)
        self.kinds = frozenset({"image", "video"}) if video else frozenset({"image"})
        self.name = f"Cosmos 0.1 {Path(path).name}"
        self.temporal, self.spatial, self.discrete = self._compression()
        if video and (window < 1 or (window - 1) % self.temporal):
            raise ValueError(f"window must be 1 + a multiple of {self.temporal} frames, got {window}")
        self.codebook_sizes = (math.prod(LEVELS),) if self.discrete else ()
        self.facts = {"path": path, "dtype": dtype, "window": window if video else None}
        self.facts["sha256"] = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}

    @torch.no_grad()
    def _compression(self) -> tuple[int, int, bool]:
        """Measures by how much frames and sides shrink, and whether integers come out."""
        side, frames = 64, 17
        shape = (1, 3, frames, side, side) if self.video else (1, 3, side, side)
        first = self._encode(torch.zeros(shape))
        spatial = side // first.shape[-1]
        discrete = not first.is_floating_point()
        temporal = (frames - 1) // (first.shape[1 if discrete else 2] - 1) if self.video else 1
        return temporal, spatial, discrete

    def _encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Gives what is stored of (1, 3, [T,] H, W) in [-1, 1]: the first that the encoder gives."""
        found = self.encoder(pixels.to(self.device, self.dtype))
        return found if isinstance(found, torch.Tensor) else found[0]

    @torch.no_grad()
    def encode(self, media: torch.Tensor) -> Encoded:
        frames, _, height, width = media.shape
        pixels = (media.float() / 127.5 - 1).transpose(0, 1)[None]  # (1, 3, T, H, W)
        pieces = []
        for piece in pixels.split(self.window if self.video else 1, dim=2):
            padding = (0, -width % self.spatial, 0, -height % self.spatial, 0, -(piece.shape[2] - 1) % self.temporal)
            padded = F.pad(piece, padding, mode="replicate")
            stored = self._encode(padded if self.video else padded[:, :, 0]).cpu()
            pieces.append(stored if self.discrete else stored.to(self.latent_dtype))
        count = sum(piece.numel() for piece in pieces)
        bits = count * (
            math.ceil(math.log2(self.codebook_sizes[0])) if self.discrete else self.latent_dtype.itemsize * 8
        )
        lengths = [piece.shape[1 if self.discrete else 2] if self.video else 1 for piece in pieces]
        shape = (sum(lengths), *pieces[0].shape[-2:])
        codes = None
        if self.discrete:
            codes = torch.cat([piece.reshape(-1, *piece.shape[-2:]) for piece in pieces]).long()[..., None]
        else:
            shape = (pieces[0].shape[1], *shape)
        return Encoded((pieces, (frames, height, width)), bits, shape, codes)

    @torch.no_grad()
    def decode(self, encoded: Encoded) -> torch.Tensor:
        pieces, (frames, height, width) = encoded.payload
        decoded = []
        for number, piece in enumerate(pieces):
            piece = piece.to(self.device)
            pixels = self.decoder(piece if self.discrete else piece.to(self.dtype)).float().cpu()
            pixels = pixels[0].transpose(0, 1) if self.video else pixels
            # The last window may have been padded.
            decoded.append(pixels[: min(self.window, frames - number * self.window)] if self.video else pixels)
        pixels = ((torch.cat(decoded) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        return pixels[:, :, :height, :width].contiguous()

    def describe(self) -> dict[str, Any]:
        return {
            "class": type(self).__name__,
            **self.facts,
            "latent_dtype": None if self.discrete else str(self.latent_dtype).removeprefix("torch."),
            "compression": [self.temporal, self.spatial, self.spatial],
            "filling": "last values repeated",
        }


def _load(file: Path, device: torch.device, dtype: torch.dtype) -> torch.jit.ScriptModule:
    try:
        return torch.jit.load(file, map_location=device).to(dtype).eval()
    except RuntimeError as error:
        raise ValueError(f"path must hold TorchScript files, got {file}: {str(error).splitlines()[0]}") from error
