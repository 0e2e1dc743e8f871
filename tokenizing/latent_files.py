"""Latents and codes in files: one `.safetensors` per image, video or 3D object."""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from atoken.configuration_atoken import AtokenConfig
from atoken.processing.atomic_files_atoken import atomic_file
from atoken_headers import latents as headers
from atoken_headers.latents import VERSION, LatentHeader, open_latents

from .loading import LoadedModel, quantizer_sizes

# The names safetensors gives to the types that a file may have.
_DTYPES = {
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int16: "I16",
    torch.int32: "I32",
}
_NOT_FINITE = (
    "latents must be finite, got NaN or infinite values; compute and store in float32 or bfloat16 (dtype, latent_dtype)"
)


def bits_per_token(config: AtokenConfig, content: str, latent_dtype: torch.dtype) -> float:
    """Counts what one token costs: the information of its codes, or all channels of its latents in `latent_dtype`."""
    quantizer = None if config.quantizer_config is None else vars(config.quantizer_config)
    return headers.bits_per_token(content, config.latent_channels, quantizer, latent_dtype.itemsize * 8)


def new_header(
    loaded: LoadedModel,
    kind: str,
    content: str,
    latent_dtype: torch.dtype,
    fps: float | None = None,
    times: Sequence[float] | None = None,
) -> LatentHeader:
    """
    Makes the header of what `loaded` is about to encode; the size of the media is not known yet.

    Latents are stored in `latent_dtype`, codes as the smallest integers that hold them. `times` are those of
    `MediaStream`, for frames that are not even.
    """
    config = loaded.model.config
    stored_as = latent_dtype
    if content == "codes":
        stored_as = torch.int16 if config.quantizer_config.codebook_size <= 2**15 else torch.int32
    return LatentHeader(
        kind=kind,
        media_size=(0, 0, 0),
        patch_size=tuple(config.vision_config.patch_size),
        latent_channels=config.latent_channels,
        quantizer=quantizer_sizes(loaded.model),
        content=content,
        dtype=_DTYPES[stored_as],
        model=loaded.name,
        model_type=config.model_type,
        fingerprint=loaded.fingerprint,
        fps=fps,
        times=None if times is None else tuple(times),
    )


class _LatentWriter:
    """
    Writes a latents file piece by piece, in memory that does not grow with the video's length.

    Room is left in front of the tensor for the header, which is known only at the end.

    Args:
        path: a file that does not exist yet.
        header: all but `media_size`, which `finish` takes.
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

    def finish(self, media_size: tuple[int, int, int]) -> LatentHeader:
        """
        Writes the header, and gives it.

        Raises:
            ValueError: the pieces do not fill media of `media_size`, or there are times of other frames.
        """
        self.header = replace(self.header, media_size=media_size)
        if self.rest is None or (self.frames, *self.rest) != self.header.shape:
            written = (self.frames, *(self.rest or ()))
            raise ValueError(f"pieces must fill {self.header.shape} for media of {media_size}, got {written}")
        if self.header.times is not None and len(self.header.times) != media_size[0] + 1:
            raise ValueError(
                f"times must be {media_size[0] + 1} of {media_size[0]} frames, got {len(self.header.times)}"
            )
        text = self._header_bytes(self.header.shape, self.bytes)
        self.file.seek(0)
        # safetensors allows spaces at the end of the header.
        self.file.write(self.room.to_bytes(8, "little") + text.ljust(self.room))
        return self.header

    def _header_bytes(self, shape: tuple[int, ...], size: int) -> bytes:
        tensor = {"dtype": self.header.dtype, "shape": list(shape), "data_offsets": [0, size]}
        return json.dumps({"__metadata__": self.header.to_metadata(), self.header.content: tensor}).encode()

    def __enter__(self) -> "_LatentWriter":
        return self

    def __exit__(self, kind, error, traceback) -> None:
        self.file.close()


def write_latents(
    path: Path, header: LatentHeader, pieces: Iterable[torch.Tensor], media_size: Callable[[], tuple[int, int, int]]
) -> LatentHeader:
    """
    Writes a latents file in one atomic step, in memory that does not grow with the length of a video.

    Args:
        path: replaced if it exists.
        header: as `new_header` makes it.
        pieces: latents or codes (t, h, w, channels), one after another.
        media_size: called after the last piece, when the length is known.

    Returns:
        The header with the size of the media.

    Raises:
        ValueError: values are not finite, or the pieces do not fill the media's size.
    """
    with atomic_file(path) as temporary, _LatentWriter(temporary, header) as writer:
        for piece in pieces:
            writer.append(piece)
        return writer.finish(media_size())


def write_object_latents(path: Path, header: LatentHeader, latents: torch.Tensor, coords: torch.Tensor) -> LatentHeader:
    """
    Writes the latents file of an object in one atomic step.

    Args:
        path: replaced if it exists.
        header: as `new_header` makes it.
        latents: (N, channels) latents or codes.
        coords: (N, 3) integers [x, y, z] below 256.

    Returns:
        The header with the number of voxels.

    Raises:
        ValueError: values are not finite.
    """
    header = replace(header, voxels=len(coords))
    dtype = next(dtype for dtype, name in _DTYPES.items() if name == header.dtype)
    latents = latents.to("cpu", dtype).contiguous()
    if latents.is_floating_point() and not latents.isfinite().all():
        raise ValueError(_NOT_FINITE)
    tensors = {header.content: latents, "coords": coords.to("cpu", torch.uint8).contiguous()}
    with atomic_file(path) as temporary:
        save_file(tensors, temporary, metadata=header.to_metadata())
    return header


def read_object_latents(path: str | os.PathLike, header: LatentHeader) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Reads the latents or codes (N, channels) and coords (N, 3) int64 of an object's latents file.

    Raises:
        ValueError: if values are not finite.
    """
    tensors = load_file(path)
    latents = tensors[header.content]
    if latents.is_floating_point() and not latents.isfinite().all():
        raise ValueError("latents must be finite, got NaN or infinite values")
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


def check_latents_fit(header: LatentHeader, loaded: LoadedModel) -> None:
    """
    Checks that a latents file was written by the model that is to decode it.

    Raises:
        ValueError: another model wrote the latents, or naming what differs although the fingerprint is right.
    """
    if loaded.fingerprint != header.fingerprint:
        raise ValueError(
            f"model must be the one that wrote the latents, {header.model!r} (fingerprint {header.fingerprint}), got "
            f"{loaded.name!r} (fingerprint {loaded.fingerprint})"
        )
    config = loaded.model.config
    for name, value in (
        ("patch_size", tuple(config.vision_config.patch_size)),
        ("latent_channels", config.latent_channels),
        ("quantizer", quantizer_sizes(loaded.model)),
    ):
        if getattr(header, name) != value:
            raise ValueError(
                f"the file is damaged: {name} must be {value} as in its model, got {getattr(header, name)}"
            )


def iter_latents(path: str | os.PathLike, header: LatentHeader, step: int = 4) -> Iterator[torch.Tensor]:
    """
    Reads the tensor of a latents file in pieces (t, h, w, channels) of `step` tokens in time.

    Raises:
        ValueError: if values are not finite. (Whether codes are in range, the quantizer checks.)
    """
    with open_latents(path, "pt") as file:
        tensor = file.get_slice(header.content)
        for start in range(0, header.grid[0], step):
            piece = tensor[start : start + step]
            if piece.is_floating_point() and not piece.isfinite().all():
                raise ValueError("latents must be finite, got NaN or infinite values")
            yield piece
