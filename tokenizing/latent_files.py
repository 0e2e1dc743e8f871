"""Latents and codes in files: one `.safetensors` per image, video or 3D object, with all that decoding needs."""

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from atoken.configuration_atoken import AtokenConfig, AtokenDecoderConfig
from atoken.modeling_atoken import AtokenModel
from atoken.processing.atomic_files_atoken import atomic_file

FORMAT, VERSION = "atoken-latents", "1"
# The names safetensors gives to the types that a file may have.
_DTYPES = {
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int16: "I16",
    torch.int32: "I32",
}
_CODE_DTYPES = ("I16", "I32")
# Values of each tensor that enter a model's fingerprint.
_FINGERPRINT_VALUES = 1024
_NOT_FINITE = "the latents are not finite; use float32 or bfloat16, here and as --latent-dtype"


@dataclass
class LatentHeader:
    """
    What a latents file says about itself.

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
        fingerprint: of its decoder, see [`decoder_fingerprint`].
        fps: frames per second of a video.
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
    voxels: int | None = None

    @classmethod
    def of_model(
        cls,
        model: AtokenModel,
        name: str,
        fingerprint: str,
        kind: str,
        content: str,
        latent_dtype: torch.dtype,
        fps: float | None,
    ) -> "LatentHeader":
        """
        The header of what `model`, loaded from `name`, is about to encode; the media's size is not known yet.

        Latents are stored in `latent_dtype`, codes as the smallest integers that hold them.
        """
        config = model.config
        stored_as = latent_dtype
        if content == "codes":
            stored_as = torch.int16 if config.quantizer_config.codebook_size <= 2**15 else torch.int32
        return cls(
            kind=kind,
            media_size=(0, 0, 0),
            patch_size=tuple(config.vision_config.patch_size),
            latent_channels=config.latent_channels,
            quantizer=quantizer_sizes(model),
            content=content,
            dtype=_DTYPES[stored_as],
            model=name,
            model_type=config.model_type,
            fingerprint=fingerprint,
            fps=fps,
        )

    @property
    def grid(self) -> tuple[int, int, int]:
        """Tokens in time, rows and columns."""
        return tuple(-(-side // patch) for side, patch in zip(self.media_size, self.patch_size, strict=True))

    @property
    def tokens(self) -> int:
        """How many tokens the file holds."""
        return math.prod(self.grid) if self.voxels is None else self.voxels

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the tensor of latents or codes."""
        grid = self.grid if self.voxels is None else (self.voxels,)
        return *grid, self.latent_channels if self.content == "latents" else self.quantizer["num_codebooks"]

    def to_metadata(self) -> dict[str, str]:
        """The metadata of the file, in which safetensors allows strings only."""
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
        if self.voxels is not None:
            metadata["voxels"] = str(self.voxels)
        return metadata

    @classmethod
    def from_metadata(cls, metadata: dict[str, str], dtype: str) -> "LatentHeader":
        """The reverse of `to_metadata`. Raises ValueError naming the entry that is missing or makes no sense."""

        def entry(name: str) -> str:
            if name not in metadata:
                raise ValueError(f"the metadata have no {name!r}; the file is damaged or by another program")
            return metadata[name]

        def numbers(name: str, count: int) -> tuple[int, ...]:
            values = tuple(int(part) if part.isdecimal() else 0 for part in entry(name).split(","))
            if len(values) != count or min(values) < 1:
                raise ValueError(f"{name} must be {count} positive integers, got {entry(name)!r}")
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
            voxels=numbers("voxels", 1)[0] if is_object else None,
        )
        if header.content == "codes" and header.quantizer is None:
            raise ValueError("content is codes, but quantizer is none")
        if header.kind == "image" and header.media_size[0] != 1:
            raise ValueError(f"media_size of an image must have one frame, got {header.media_size}")
        return header


def _read_quantizer(text: str) -> dict[str, int] | None:
    if text == "none":
        return None
    try:
        quantizer = json.loads(text)
        positive = all(int(quantizer[name]) > 0 for name in ("num_codebooks", "codebook_dim", "levels"))
    except (ValueError, TypeError, KeyError):
        positive = False
    if not positive:
        raise ValueError(f"quantizer must be none, or num_codebooks, codebook_dim and levels as JSON, got {text!r}")
    return quantizer


def _read_fps(text: str) -> float:
    try:
        fps = float(text)
    except ValueError:
        fps = math.nan
    if not 0 < fps < math.inf:
        raise ValueError(f"fps must be a positive number, got {text!r}")
    return fps


def decoder_fingerprint(model: AtokenModel) -> str:
    """
    32 hexadecimal digits that tell decoders apart: latents of one are noise to another.

    Everything that changes how latents decode takes part: the decoder's configuration, the latent channels, the
    quantizer, and the first values of every tensor of the decoder. They are read as fp32, so that the dtype they are
    loaded in makes no difference as long as it holds them exactly.
    """
    config = model.config
    sizes = {
        name: list(value) if isinstance(value, (list, tuple)) else value
        for name, value in ((name, getattr(config.decoder_config, name)) for name in _decoder_options())
    }
    digest = hashlib.sha256(json.dumps([sizes, config.latent_channels, quantizer_sizes(model)]).encode())
    for name, tensor in sorted(model.decoder.state_dict().items()):
        head = tensor.flatten()[:_FINGERPRINT_VALUES].float().cpu()
        digest.update(f"{name}{list(tensor.shape)}".encode() + head.numpy().tobytes())
    return digest.hexdigest()[:32]


def _decoder_options() -> list[str]:
    return sorted(set(AtokenDecoderConfig.__annotations__) - {"model_type", "base_config_key", "initializer_range"})


def quantizer_sizes(model: AtokenModel) -> dict[str, int] | None:
    """The quantizer as a latents file records it."""
    config = model.config.quantizer_config
    if config is None:
        return None
    return {name: getattr(config, name) for name in ("num_codebooks", "codebook_dim", "levels")}


def bits_per_token(config: AtokenConfig, content: str, latent_dtype: torch.dtype) -> float:
    """What one token costs: the information of its codes, or all channels of its latents in `latent_dtype`."""
    if content == "codes":
        return config.quantizer_config.num_codebooks * math.log2(config.quantizer_config.codebook_size)
    return config.latent_channels * latent_dtype.itemsize * 8


class _LatentWriter:
    """
    Writes a latents file piece by piece, in memory that does not grow with the video's length.

    Room is left in front of the tensor for the header, which is known only at the end. The caller sets the header's
    `media_size` before closing.

    Args:
        path: a file that does not exist yet.
        header: as [`LatentHeader`]; the frames and the size in it may still be unknown.
    """

    def __init__(self, path: Path, header: LatentHeader):
        self.header = header
        self.dtype = next(dtype for dtype, name in _DTYPES.items() if name == header.dtype)
        # 20 digits for each number that may still grow.
        self.room = -(-(len(self._header_bytes((0, 0, 0, 0), 0)) + 20 * 8) // 8) * 8
        self.frames = self.bytes = 0
        self.rest: tuple[int, ...] | None = None
        self.file = open(path, "wb")
        self.file.write(b"\0" * (8 + self.room))

    def append(self, piece: torch.Tensor) -> None:
        """Adds a piece (t, h, w, channels). Raises ValueError if the sizes differ or a value is not finite."""
        rest = tuple(piece.shape[1:])
        if piece.ndim != 4 or rest != (self.rest or rest):
            raise ValueError(f"piece must have shape (t, {self.rest}), got {tuple(piece.shape)}")
        piece = piece.to("cpu", self.dtype).contiguous()
        if piece.is_floating_point() and not piece.isfinite().all():
            raise ValueError(_NOT_FINITE)
        self.rest = rest
        data = piece.view(torch.uint8).numpy().tobytes()
        self.file.write(data)
        self.frames += piece.shape[0]
        self.bytes += len(data)

    def close(self) -> None:
        """Writes the header. Raises ValueError if the pieces do not fill the header's `media_size`."""
        if self.rest is None or (self.frames, *self.rest) != self.header.shape:
            raise ValueError(f"{(self.frames, *(self.rest or ()))} was written, the header says {self.header.shape}")
        text = self._header_bytes(self.header.shape, self.bytes)
        self.file.seek(0)
        # safetensors allows spaces at the end of the header.
        self.file.write(self.room.to_bytes(8, "little") + text.ljust(self.room))

    def _header_bytes(self, shape: tuple[int, ...], size: int) -> bytes:
        tensor = {"dtype": self.header.dtype, "shape": list(shape), "data_offsets": [0, size]}
        return json.dumps({"__metadata__": self.header.to_metadata(), self.header.content: tensor}).encode()

    def __enter__(self) -> "_LatentWriter":
        return self

    def __exit__(self, kind, error, traceback) -> None:
        try:
            if kind is None:
                self.close()
        finally:
            self.file.close()


def write_latents(
    path: Path, header: LatentHeader, pieces: Iterable[torch.Tensor], media_size: Callable[[], tuple[int, int, int]]
) -> None:
    """
    Writes a latents file in one atomic step, in memory that does not grow with the video's length.

    Args:
        path: replaced if it exists.
        header: all but `media_size`, which is set here.
        pieces: latents or codes (t, h, w, channels), one after another.
        media_size: called after the last piece, when the length is known.

    Raises:
        ValueError: if values are not finite, or the pieces do not fill the media's size.
    """
    with atomic_file(path) as temporary, _LatentWriter(temporary, header) as writer:
        for piece in pieces:
            writer.append(piece)
        header.media_size = media_size()


def write_object_latents(path: Path, header: LatentHeader, latents: torch.Tensor, coords: torch.Tensor) -> None:
    """
    Writes the latents file of an object in one atomic step.

    Args:
        path: replaced if it exists.
        header: its `voxels` are set here.
        latents: (N, channels) latents or codes.
        coords: (N, 3) integers [x, y, z] below 256.

    Raises:
        ValueError: if values are not finite.
    """
    header.voxels = len(coords)
    dtype = next(dtype for dtype, name in _DTYPES.items() if name == header.dtype)
    latents = latents.to("cpu", dtype).contiguous()
    if latents.is_floating_point() and not latents.isfinite().all():
        raise ValueError(_NOT_FINITE)
    tensors = {header.content: latents, "coords": coords.to("cpu", torch.uint8).contiguous()}
    with atomic_file(path) as temporary:
        save_file(tensors, temporary, metadata=header.to_metadata())


def read_object_latents(path: str | os.PathLike, header: LatentHeader) -> tuple[torch.Tensor, torch.Tensor]:
    """
    The latents or codes (N, channels) and coords (N, 3) int64 of an object's latents file.

    Raises:
        ValueError: if values are not finite.
    """
    tensors = load_file(path)
    latents = tensors[header.content]
    if latents.is_floating_point() and not latents.isfinite().all():
        raise ValueError("the latents hold NaN or infinite values")
    return latents, tensors["coords"].long()


def write_embeddings(
    path: Path, embeddings: torch.Tensor, text_embeddings: torch.Tensor | None, files: list[str], texts: list[str]
) -> None:
    """
    Writes embeddings (files, d) and, if there are texts, `text_embeddings` (texts, d) and the `similarities` (files,
    texts); the metadata name the files and texts.
    """
    tensors = {"embeddings": embeddings}
    if text_embeddings is not None:
        tensors |= {"text_embeddings": text_embeddings, "similarities": embeddings @ text_embeddings.T}
    names = {"files": json.dumps(files), "texts": json.dumps(texts)}
    with atomic_file(path) as temporary:
        save_file(tensors, temporary, metadata={"format": "atoken-embeddings", "version": VERSION, **names})


def read_header(path: str | os.PathLike) -> LatentHeader:
    """
    What a latents file says about itself, checked against the tensor it holds; no values are read.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is truncated, of another format, or its parts do not fit together.
    """
    with _open_latents(path) as file:
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
    if dtype not in _DTYPES.values() or (dtype in _CODE_DTYPES) != (header.content == "codes"):
        raise ValueError(f"{header.content} cannot be stored as {dtype}")
    return header


def check_latents_fit(header: LatentHeader, model: AtokenModel, name: str, fingerprint: str) -> None:
    """ValueError if another model wrote the latents, or naming what differs although the fingerprint is right."""
    if fingerprint != header.fingerprint:
        raise ValueError(
            f"written by the model {header.model!r} (fingerprint {header.fingerprint}), which is not the one given, "
            f"{name!r} (fingerprint {fingerprint})"
        )
    config = model.config
    for name, value in (
        ("patch_size", tuple(config.vision_config.patch_size)),
        ("latent_channels", config.latent_channels),
        ("quantizer", quantizer_sizes(model)),
    ):
        if getattr(header, name) != value:
            raise ValueError(f"the file is damaged: {name} is {getattr(header, name)} in it and {value} in its model")


def iter_latents(path: str | os.PathLike, header: LatentHeader, step: int = 4) -> Iterator[torch.Tensor]:
    """
    The tensor of a latents file in pieces (t, h, w, channels) of `step` tokens in time.

    Raises:
        ValueError: if values are not finite. (Whether codes are in range, the quantizer checks.)
    """
    with _open_latents(path) as file:
        tensor = file.get_slice(header.content)
        for start in range(0, header.grid[0], step):
            piece = tensor[start : start + step]
            if piece.is_floating_point() and not piece.isfinite().all():
                raise ValueError("the latents hold NaN or infinite values")
            yield piece


@contextmanager
def _open_latents(path: str | os.PathLike) -> Iterator[safe_open]:
    if not os.path.isfile(path):
        raise FileNotFoundError("no such file")
    try:
        file = safe_open(path, framework="pt")
    except SafetensorError as error:
        raise ValueError(f"truncated, or not a safetensors file: {error}") from error
    with file:
        yield file
