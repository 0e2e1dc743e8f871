"""Linear coding of the same patches at the same bits: the baseline that shows what a network adds."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from ..interface import Encoded, MediaTokenizer

PATCH, FRAMES = 16, 4
COMPONENTS = 256
MOST_BITS = 12
# Half-widths of a uniform quantizer that are tried, in standard deviations.
SPANS = torch.tensor([1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.5, 8.0])
KEPT_VALUE_BITS = 16


@dataclass
class Pca:
    """
    Holds the principal components of samples of D values.

    Attributes:
        mean: (D,).
        components: (D, K), orthonormal, by falling variance.
        deviations: (K,) standard deviations.
        units: (K,) in which a network should hold each component, the square roots of the deviations. Whitened, all
            components would look alike to the network, but the optimizer's noise in the first one would cost a
            thousand times what it costs in the fiftieth.
    """

    mean: torch.Tensor
    components: torch.Tensor
    deviations: torch.Tensor
    units: torch.Tensor

    @classmethod
    def fit(cls, samples: torch.Tensor, num_components: int) -> "Pca":
        """Fits samples (N, D), by eigenvectors of their covariance."""
        mean = samples.mean(0, dtype=torch.float64)
        covariance = torch.zeros(samples.shape[1], samples.shape[1], dtype=torch.float64)
        for part in samples.split(8192):
            centered = part - mean.float()
            covariance += centered.T @ centered
        values, vectors = torch.linalg.eigh(covariance / len(samples))
        values, vectors = values.flip(0)[:num_components], vectors.flip(1)[:, :num_components]
        deviations = values.clamp(min=1e-12).sqrt().float()
        return cls(mean.float(), vectors.float(), deviations, deviations.sqrt())

    def reconstruct(self, samples: torch.Tensor, num_components: int) -> torch.Tensor:
        """Projects samples (N, D) onto the first components."""
        basis = self.components[:, :num_components]
        return (samples - self.mean) @ basis @ basis.T + self.mean


def to_patches(media: torch.Tensor) -> tuple[torch.Tensor, tuple[int, int, int]]:
    """
    Cuts (T, 3, H, W) uint8 into patches in [-1, 1]: (N, 768) of an image's frame, (N, 3072) of 4 frames of a video.

    Sides, and the frames of a video, are padded to whole patches with their last values.

    Returns:
        Patches, and how many there are along (t, y, x).
    """
    frames, _, height, width = media.shape
    depth = 1 if frames == 1 else FRAMES
    pixels = (media.float() / 127.5 - 1).transpose(0, 1)[None]  # (1, 3, T, H, W)
    pixels = F.pad(pixels, (0, -width % PATCH, 0, -height % PATCH, 0, -frames % depth), mode="replicate")[0]
    grid = tuple(side // size for side, size in zip(pixels.shape[1:], (depth, PATCH, PATCH), strict=True))
    pixels = pixels.reshape(3, grid[0], depth, grid[1], PATCH, grid[2], PATCH)
    return pixels.permute(1, 3, 5, 2, 4, 6, 0).reshape(-1, depth * PATCH * PATCH * 3), grid


def to_media(patches: torch.Tensor, grid: tuple[int, int, int], size: tuple[int, int, int]) -> torch.Tensor:
    """Puts patches together again, cut to (frames, height, width): (T, 3, H, W) uint8."""
    depth = patches.shape[1] // (PATCH * PATCH * 3)
    pixels = patches.reshape(*grid, depth, PATCH, PATCH, 3).permute(0, 3, 6, 1, 4, 2, 5)
    pixels = pixels.reshape(grid[0] * depth, 3, grid[1] * PATCH, grid[2] * PATCH)
    pixels = pixels[: size[0], :, : size[1], : size[2]]
    return ((pixels + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


@dataclass
class Basis:
    """
    Holds principal components of patches of D values, with scalar quantizers for each of the K first ones.

    Attributes:
        mean: (D,).
        components: (D, K), orthonormal, by falling variance.
        spans: (K, 12) half-width of the best uniform quantizer of 1 to 12 bits.
        errors: (K, 13) mean squared error with 0 to 12 bits.
    """

    mean: torch.Tensor
    components: torch.Tensor
    spans: torch.Tensor
    errors: torch.Tensor

    @classmethod
    def fit(cls, patches: torch.Tensor) -> "Basis":
        """Fits patches (N, D)."""
        pca = Pca.fit(patches, COMPONENTS)
        values = (patches - pca.mean) @ pca.components
        spans, errors = [], [values.square().mean(0)]
        for bits in range(1, MOST_BITS + 1):
            tried = SPANS[:, None] * pca.deviations  # (spans, K)
            error = torch.stack([(quantized(values, span, bits)[1] - values).square().mean(0) for span in tried])
            best = error.argmin(0)
            spans.append(tried.gather(0, best[None])[0])
            errors.append(error.gather(0, best[None])[0])
        return cls(pca.mean, pca.components, torch.stack(spans, 1), torch.stack(errors, 1))

    def allocation(self, bits: int) -> torch.Tensor:
        """Shares out bits among components (K,): one after another to where it lowers the squared error most."""
        given = torch.zeros(self.errors.shape[0], dtype=torch.int64)
        gains = F.pad(self.errors[:, :-1] - self.errors[:, 1:], (0, 1), value=-torch.inf)  # 12 bits at most
        for _ in range(bits):
            given[gains.gather(1, given[:, None]).argmax()] += 1
        return given


def quantized(values: torch.Tensor, span: torch.Tensor, bits: torch.Tensor | int) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Quantizes values uniformly in 2^bits cells over [-span, span].

    Returns:
        Codes, and the values they stand for; 0 for components of 0 bits.
    """
    cells = 2.0 ** torch.as_tensor(bits)
    codes = ((values / span + 1) / 2 * cells).floor().clamp(min=0).minimum(cells - 1)
    return codes, ((codes + 0.5) / cells * 2 - 1) * span


class PcaTokenizer(MediaTokenizer):
    """
    Stores patches of 16x16 pixels, of 4 frames in videos, as coefficients of principal components.

    Args:
        image, video: bases of the two kinds of patches.
        bits_per_token: so many for each patch, shared out among components where they lower the error most.
        num_components: instead, so many components as bfloat16 values.

    Raises:
        ValueError: not exactly one of the two is given, or it is out of range.
    """

    kinds = frozenset({"image", "video"})

    def __init__(
        self, image: Basis, video: Basis, bits_per_token: int | None = None, num_components: int | None = None
    ):
        if (bits_per_token is None) == (num_components is None):
            given = f"{bits_per_token} and {num_components}"
            raise ValueError(f"exactly one of bits_per_token and num_components must be given, got {given}")
        if bits_per_token is not None and not 1 <= bits_per_token <= COMPONENTS * MOST_BITS:
            raise ValueError(f"bits_per_token must be 1 to {COMPONENTS * MOST_BITS}, got {bits_per_token}")
        if num_components is not None and not 1 <= num_components <= COMPONENTS:
            raise ValueError(f"num_components must be 1 to {COMPONENTS}, got {num_components}")
        self.bases = {"image": image, "video": video}
        self.bits_per_token, self.num_components = bits_per_token, num_components
        self.allocations = {kind: basis.allocation(bits_per_token or 0) for kind, basis in self.bases.items()}
        self.name = f"PCA, {bits_per_token} bits/token" if bits_per_token else f"PCA, {num_components} components"

    @classmethod
    def fit(cls, images: list[torch.Tensor], videos: list[torch.Tensor], **options: int) -> "PcaTokenizer":
        """Fits images (3, H, W) or (1, 3, H, W) and videos (T, 3, H, W), uint8; options are those of the class."""
        stacks = ([image.view(1, *image.shape[-3:]) for image in images], videos)
        return cls(*(Basis.fit(torch.cat([to_patches(one)[0] for one in media])) for media in stacks), **options)

    def save(self, path: Path) -> None:
        """Writes both bases, from which any rate can be had."""
        tensors = {f"{kind}.{name}": value for kind, basis in self.bases.items() for name, value in vars(basis).items()}
        save_file({name: value.contiguous() for name, value in tensors.items()}, path)

    @classmethod
    def load(cls, path: str, bits_per_token: int | None = None, num_components: int | None = None) -> "PcaTokenizer":
        """
        Reads the bases of a file.

        Raises:
            FileNotFoundError: there is no such file.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(
                f"path: there is no fitted PCA at {path}; python -m atoken.training.recipes.tiny.fit_pca makes one"
            )
        tensors = load_file(path)
        bases = (
            Basis(**{name: tensors[f"{kind}.{name}"] for name in Basis.__dataclass_fields__})
            for kind in ("image", "video")
        )
        return cls(*bases, bits_per_token=bits_per_token, num_components=num_components)

    def encode(self, media: torch.Tensor) -> Encoded:
        kind = "image" if len(media) == 1 else "video"
        basis = self.bases[kind]
        patches, grid = to_patches(media)
        values = (patches - basis.mean) @ basis.components
        if self.num_components is not None:
            values = values[:, : self.num_components].bfloat16()
            bits = values.numel() * KEPT_VALUE_BITS
        else:
            used, span, given = self._quantizer(kind)
            values = quantized(values[:, used], span, given)[0].to(torch.int16)
            bits = len(values) * self.bits_per_token
        size = (len(media), *media.shape[-2:])
        return Encoded((kind, values, grid, size), bits, (*grid, values.shape[1]))

    def _quantizer(self, kind: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Gives the components that have any bits, and their spans and bits, each (k,)."""
        given = self.allocations[kind]
        used = given.nonzero()[:, 0]
        return used, self.bases[kind].spans[used, given[used] - 1], given[used]

    def decode(self, encoded: Encoded) -> torch.Tensor:
        kind, values, grid, size = encoded.payload
        basis = self.bases[kind]
        if self.num_components is not None:
            used, values = slice(self.num_components), values.float()
        else:
            used, span, given = self._quantizer(kind)
            values = ((values.float() + 0.5) / 2.0**given * 2 - 1) * span
        return to_media(values @ basis.components[:, used].T + basis.mean, grid, size)

    def _fingerprint(self) -> str:
        values = hashlib.sha256()
        for basis in self.bases.values():
            for value in vars(basis).values():
                values.update(value.contiguous().numpy().tobytes())
        return values.hexdigest()[:16]

    def describe(self) -> dict[str, Any]:
        return {
            "class": type(self).__name__,
            "fingerprint": self._fingerprint(),
            "bits_per_token": self.bits_per_token,
            "num_components": self.num_components,
            "token": "16x16 pixels of an image, 4 frames of 16x16 of a video",
        }
