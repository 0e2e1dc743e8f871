"""The work of commands on one image or video; for 3D objects, see object_jobs.py."""

import math
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from atoken.tokenizing.files import folder_of
from atoken.tokenizing.latent_files import bits_per_token, check_latents_fit, iter_latents, new_header, write_latents
from atoken.tokenizing.loading import LoadedModel
from atoken.tokenizing.round_trip import RoundTrip, Stopwatch
from atoken.tokenizing.streams import MediaStream, MissingFrameRate, to_pixels, write_media
from atoken_headers.latents import LatentHeader

from .jobs import Job
from .rows import DecodedRow, ReconstructedRow, StoredRow


def reconstruct_media(loaded: LoadedModel, job: Job, latent_dtype: str, fps: float | None) -> ReconstructedRow:
    """Writes what comes back from tokens, a video at the times of its frames, or evenly if there is an `fps`."""
    trip = RoundTrip(loaded, MediaStream.open(loaded, job.path, job.kind), getattr(torch, latent_dtype))
    _write(job.target, job.kind, (reconstruction for _, reconstruction in trip), trip.stream, fps)
    return ReconstructedRow(file=str(job.path), output=str(job.target), **asdict(trip.measured()))


def encode_media(loaded: LoadedModel, job: Job, content: str, latent_dtype: str) -> StoredRow:
    """Writes latents or codes, as `content` says."""
    stored_as, watch, reading = getattr(torch, latent_dtype), Stopwatch(), Stopwatch()
    stream = MediaStream.open(loaded, job.path, job.kind)
    patches = (piece.patches for piece in stream)
    latents = loaded.model.encode_stream(reading.time(patches), as_patches=True)
    pieces = watch.time(piece.cpu() for piece in latents)
    if content == "codes":
        pieces = map(loaded.model.quantizer.to_codes, pieces)
    header = new_header(loaded, stream.kind, content, stored_as, stream.fps, stream.times)
    with folder_of(job.target):
        write_latents(job.target, header, pieces, lambda: stream.media_size)
    bits = stream.tokens * bits_per_token(loaded.model.config, content, stored_as)
    return StoredRow(
        file=str(job.path),
        output=str(job.target),
        kind=job.kind,
        content=content,
        dtype=header.dtype,
        media_size=list(stream.media_size),
        fps=stream.fps,
        tokens=stream.tokens,
        bytes=job.target.stat().st_size,
        bits_per_pixel=bits / math.prod(stream.media_size),
        seconds=watch.seconds - reading.seconds,
    )


def decode_media(loaded: LoadedModel, job: Job, fps: float | None) -> DecodedRow:
    """Writes the image or video of a latents file, at the times of its frames, or evenly if there is an `fps`."""
    header, model, watch = job.header, loaded.model, Stopwatch()
    check_latents_fit(header, loaded)
    pieces: Iterable[torch.Tensor] = iter_latents(job.path, header)
    if header.content == "codes":
        pieces = map(model.quantizer.from_codes, pieces)
    decoded = (piece.float().cpu() for piece in model.decode_stream(pieces, as_patches=True))
    frames, height, width = header.media_size
    pixels = (to_pixels(loaded, header.kind, piece, (height, width)) for piece in watch.time(decoded))
    _write(job.target, header.kind, _first(pixels, frames), header, fps)
    return DecodedRow(
        file=str(job.path),
        output=str(job.target),
        kind=header.kind,
        model=loaded.name,
        media_size=list(header.media_size),
        fps=header.fps,
        tokens=header.tokens,
        seconds=watch.seconds,
    )


def _first(pieces: Iterable[np.ndarray], frames: int) -> Iterable[np.ndarray]:
    """Leaves out the frames that padded the last patch."""
    for piece in pieces:
        yield piece[:frames]
        frames -= len(piece[:frames])


def _write(
    target: Path, kind: str, pieces: Iterable[np.ndarray], source: MediaStream | LatentHeader, fps: float | None
) -> None:
    try:
        if fps is None:
            write_media(target, kind, pieces, source.fps, source.times)
        else:
            write_media(target, kind, pieces, fps)
    except MissingFrameRate as error:
        raise ValueError(f"{error}; say --fps") from error


def embed_media(loaded: LoadedModel, job: Job) -> torch.Tensor:
    """Embeds a file: (d,) of length 1 in fp32. The pooling looks at all tokens, so a video is encoded as a whole."""
    modality = {"image": "images", "video": "videos", "object": "voxels"}[job.kind]
    inputs = loaded.processor(**{modality: [str(job.path)]}).to(loaded.model.device)
    with torch.no_grad():
        features = loaded.model.get_image_features(inputs.pixel_values, inputs.coords, inputs.cu_seqlens)
    vector = torch.nn.functional.normalize(features.pooler_output[0].float().cpu(), dim=0)
    if not vector.isfinite().all():
        raise ValueError("the embedding is not finite; use --dtype float32 or bfloat16")
    return vector


def embed_texts(loaded: LoadedModel, texts: list[str]) -> torch.Tensor:
    """
    Embeds texts: (texts, d) of length 1 in fp32.

    Raises:
        ValueError: the model takes no text.
    """
    if loaded.model.text_model is None:
        raise ValueError(f"the model {loaded.name} has no text tower; convert one with --text-tower")
    if loaded.processor.tokenizer is None:
        raise ValueError(f"the model {loaded.name} has a text tower but no tokenizer files")
    length = min(64, loaded.model.config.text_config.max_position_embeddings)
    inputs = loaded.processor(text=texts, text_kwargs={"max_length": length})
    with torch.no_grad():
        features = loaded.model.get_text_features(inputs.input_ids.to(loaded.model.device))
    return torch.nn.functional.normalize(features.pooler_output.float().cpu(), dim=-1)
