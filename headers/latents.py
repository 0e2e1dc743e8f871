"""The header of a latents file: one `.safetensors` per image, video or 3D object, with all that decoding needs."""

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from safetensors import SafetensorError, safe_open

FORMAT, VERSION = "atoken-latents", "1"
# As safetensors names them.
LATENT_DTYPES, CODE_DTYPES = ("F32", "BF16", "F16"), ("I16", "I32")


@dataclass(frozen=True)
class LatentHeader:
    """
    Holds what a latents file says about itself.

    Attributes:
        kind: "image", "video" or "object".
        media_size: true (frames, height, width), to which decoded media are cut back; zeros for an object.
        patch_size: (frames, rows, columns) of the pixels behind one token.
        latent_channels: channels of a latent.
        quantizer: `num_codebooks`, `codebook_dim` and `levels` of a discrete model, None for a continuous one.
        content: the name of the file's one tensor, "latents" (t, h, w, latent_channels) or "codes" (t, h, w,
            num_codebooks), in the order of the media: no coordinates are needed. An object has (voxels, channels), and
            a second tensor "coords" (voxels, 3) uint8.
        dtype: of that tensor, as safetensors names it.
        model: the folder or name that the model was loaded from.
        model_type: of its configuration.
        fingerprint: of its decoder, see `atoken.tokenizing.latent_files.decoder_fingerprint`.
        fps: frames per second of a video, of uneven ones their mean.
        times: seconds at which each frame of a video appears, and at which the last ends; None where frames are even.
        voxels: tokens of an object.
    """

    kind: str
    media_size: tuple[int, int, int]
    patch_size: tuple[int, int, int]
    latent_channels: int
    quantizer: dict[str, int] | None
    content: str
    dtype: str
    model: str
    model_type: str
    fingerprint: str
    fps: float | None = None
    times: tuple[float, ...] | None = None
    voxels: int | None = None

    @property
    def grid(self) -> tuple[int, int, int]:
        """Counts tokens in time, rows and columns."""
        return tuple(-(-side // patch) for side, patch in zip(self.media_size, self.patch_size, strict=True))

    @property
    def tokens(self) -> int:
        """Counts the tokens of the file."""
        return math.prod(self.grid) if self.voxels is None else self.voxels

    @property
    def shape(self) -> tuple[int, ...]:
        """Gives the shape of the tensor of latents or codes."""
        grid = self.grid if self.voxels is None else (self.voxels,)
        return *grid, self.latent_channels if self.content == "latents" else self.quantizer["num_codebooks"]

    def to_metadata(self) -> dict[str, str]:
        """Gives the metadata of the file, in which safetensors allows strings only."""
        metadata = {
            "format": FORMAT,
            "version": VERSION,
            "kind": self.kind,
            "media_size": ",".join(map(str, self.media_size)),
            "patch_size": ",".join(map(str, self.patch_size)),
            "latent_channels": str(self.latent_channels),
            "quantizer": "none" if self.quantizer is None else json.dumps(self.quantizer),
            "content": self.content,
            "model": self.model,
            "model_type": self.model_type,
            "fingerprint": self.fingerprint,
        }
        if self.fps is not None:
            metadata["fps"] = repr(float(self.fps))
        if self.times is not None:
            # Whole microseconds: exact for all clocks of files, and short.
            metadata["times"] = ",".join(str(round(seconds * 1_000_000)) for seconds in self.times)
        if self.voxels is not None:
            metadata["voxels"] = str(self.voxels)
        return metadata

    @classmethod
    def from_metadata(cls, metadata: dict[str, str], dtype: str) -> "LatentHeader":
        """Reverses `to_metadata`. Raises ValueError naming the entry that is missing or makes no sense."""

        def entry(name: str) -> str:
            if name not in metadata:
                raise ValueError(f"the metadata have no {name!r}; the file is damaged or by another program")
            return metadata[name]

        def numbers(name: str, count: int) -> tuple[int, ...]:
            values = tuple(int(part) if _is_integer(part) else 0 for part in entry(name).split(","))
            if len(values) != count or min(values) < 1:
                raise ValueError(f"{name} must be {count} positive integers, got {entry(name)[:80]!r}")
            return values

        def one_of(name: str, *allowed: str) -> str:
            if entry(name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {entry(name)!r}")
            return entry(name)

        if metadata.get("format") != FORMAT:
            raise ValueError(f"not a file of atoken latents: its metadata have no format={FORMAT}")
        one_of("version", VERSION)
        is_object = one_of("kind", "image", "video", "object") == "object"
        header = cls(
            kind=entry("kind"),
            media_size=(0, 0, 0) if is_object else numbers("media_size", 3),
            patch_size=numbers("patch_size", 3),
            latent_channels=numbers("latent_channels", 1)[0],
            quantizer=_read_quantizer(entry("quantizer")),
            content=one_of("content", "latents", "codes"),
            dtype=dtype,
            model=entry("model"),
            model_type=entry("model_type"),
            fingerprint=entry("fingerprint"),
            fps=_read_fps(metadata["fps"]) if "fps" in metadata else None,
            times=_read_times(metadata["times"]) if "times" in metadata else None,
            voxels=numbers("voxels", 1)[0] if is_object else None,
        )
        if header.content == "codes" and header.quantizer is None:
            raise ValueError("content is codes, but quantizer is none")
        if header.kind == "image" and header.media_size[0] != 1:
            raise ValueError(f"media_size of an image must have one frame, got {header.media_size}")
        if header.times is not None and len(header.times) != header.media_size[0] + 1:
            raise ValueError(
                f"times must be one for each of {header.media_size[0]} frames and one for the end, got "
                f"{len(header.times)}"
            )
        return header


def _read_quantizer(text: str) -> dict[str, int] | None:
    if text == "none":
        return None
    try:
        quantizer = json.loads(text)
        check_quantizer(quantizer)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(
            f"quantizer must be none, or num_codebooks, codebook_dim and levels as JSON, got {text[:200]!r}"
        ) from error
    return quantizer


def check_quantizer(quantizer: dict[str, Any]) -> None:
    """
    Checks the sizes of a quantizer.

    Raises:
        ValueError, TypeError, KeyError: one of `num_codebooks`, `codebook_dim` and `levels` is missing, no positive
            integer, or a codebook has more entries than an integer of 64 bits counts.
    """
    sizes = [quantizer[name] for name in ("num_codebooks", "codebook_dim", "levels")]
    if not all(isinstance(size, int) and 0 < size < 2**31 for size in sizes):
        raise ValueError(f"num_codebooks, codebook_dim and levels must be positive integers below 2^31, got {sizes}")
    if sizes[1] * math.log2(sizes[2]) > 63:
        raise ValueError(f"a codebook must have at most 2^63 entries, got {sizes[2]} to the power of {sizes[1]}")


def _read_fps(text: str) -> float:
    try:
        fps = float(text)
    except ValueError:
        fps = math.nan
    if not 0 < fps < math.inf:
        raise ValueError(f"fps must be a positive number, got {text!r}")
    return fps


def _is_integer(text: str) -> bool:
    """Whether a text is an integer of at least 0 that fits into 64 bits."""
    return text.isdecimal() and len(text) <= 18


def _read_times(text: str) -> tuple[float, ...]:
    parts = text.split(",")
    values = [int(part) for part in parts if _is_integer(part)]
    if len(values) < len(parts) or values != sorted(values):
        raise ValueError(f"times must be growing whole microseconds with commas between, got {text[:80]!r}")
    return tuple(value / 1_000_000 for value in values)


def read_header(path: str | os.PathLike) -> LatentHeader:
    """
    Reads what a latents file says about itself, checked against the tensor it holds; no values are read.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is truncated, of another format, or its parts do not fit together.
    """
    try:
        return _checked_header(path)
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from error


def _checked_header(path: str | os.PathLike) -> LatentHeader:
    with open_latents(path, "numpy") as file:
        names = list(file.keys())
        metadata = file.metadata() or {}
        content = metadata.get("content")
        tensor = file.get_slice(content) if content in names else None
        dtype = tensor.get_dtype() if tensor is not None else ""
        header = LatentHeader.from_metadata(metadata, dtype)
        expected = sorted([header.content, *(["coords"] if header.kind == "object" else [])])
        if sorted(names) != expected:
            what = "one tensor named" if len(expected) == 1 else "tensors named"
            raise ValueError(f"expected {what} {', '.join(expected)}, got {', '.join(names) or 'none'}")
        shape = tuple(tensor.get_shape())
        if header.kind == "object":
            coords = file.get_slice("coords")
            if coords.get_dtype() != "U8" or tuple(coords.get_shape()) != (header.voxels, 3):
                raise ValueError(
                    f"coords must be U8 ({header.voxels}, 3), got {coords.get_dtype()} {tuple(coords.get_shape())}"
                )
    if shape != header.shape:
        raise ValueError(
            f"{header.content} must have shape {header.shape} for media of "
            f"{header.voxels or header.media_size}, got {shape}"
        )
    if dtype not in (*LATENT_DTYPES, *CODE_DTYPES) or (dtype in CODE_DTYPES) != (header.content == "codes"):
        raise ValueError(f"{header.content} cannot be stored as {dtype}")
    return header


def bits_per_token(content: str, latent_channels: int, quantizer: dict[str, Any] | None, value_bits: int) -> float:
    """
    Counts what one token costs: the information of its codes, or all channels of its latents.

    Args:
        content: "codes" or "latents".
        quantizer: `num_codebooks`, `codebook_dim` and `levels` of a discrete model.
        value_bits: bits of one latent's value as it is stored.
    """
    if content == "codes":
        return quantizer["num_codebooks"] * math.log2(quantizer["levels"] ** quantizer["codebook_dim"])
    return latent_channels * value_bits


@contextmanager
def open_latents(path: str | os.PathLike, framework: str) -> Iterator[safe_open]:
    """
    Opens a latents file for tensors of a framework, "pt" or "numpy".

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is truncated, or of another format.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError("no such file")
    try:
        file = safe_open(path, framework=framework)
    except SafetensorError as error:
        raise ValueError(f"truncated, or not a safetensors file: {error}") from error
    with file:
        yield file
