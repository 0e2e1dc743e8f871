"""What the commands of `atoken` do with one image or video; for 3D objects, see object_jobs_atoken.py."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from atoken.processing import media_reading_atoken
from atoken.tokenizing.files import folder_of
from atoken.tokenizing.latent_files import LatentHeader, bits_per_token, check_latents_fit, iter_latents, write_latents
from atoken.tokenizing.round_trip import RoundTrip, Stopwatch
from atoken.tokenizing.streams import MediaStream, Tokenizer, to_pixels, write_media

from .jobs import Job


def reconstruct_media(loaded: Tokenizer, job: Job, latent_dtype: str, fps: float | None) -> dict[str, Any]:
    """Writes what comes back from tokens; the numbers of its row in the table."""
    trip = RoundTrip(loaded.model, MediaStream.open(loaded, job.path, job.kind), getattr(torch, latent_dtype))
    write_media(job.target, job.kind, (pair[1] for pair in trip), trip.stream.fps, fps)
    return {"file": str(job.path), "output": str(job.target), **trip.facts()}


def encode_media(loaded: Tokenizer, job: Job, content: str, latent_dtype: str) -> dict[str, Any]:
    """Writes latents or codes, as `content` says; the numbers of their row in the table."""
    stored_as, watch, reading = getattr(torch, latent_dtype), Stopwatch(), Stopwatch()
    stream = MediaStream.open(loaded, job.path, job.kind)
    header = LatentHeader.of_model(
        loaded.model, loaded.name, loaded.fingerprint, stream.kind, content, stored_as, stream.fps
    )
    pieces = watch.time(piece.cpu() for piece in loaded.model.encode_stream(reading.time(stream)))
    if content == "codes":
        pieces = map(loaded.model.quantizer.to_codes, pieces)
    with folder_of(job.target):
        write_latents(job.target, header, pieces, lambda: stream.media_size)
    bits = stream.tokens * bits_per_token(loaded.model.config, content, stored_as)
    return {
        "file": str(job.path),
        "output": str(job.target),
        "kind": job.kind,
        "content": content,
        "dtype": header.dtype,
        "media_size": list(stream.media_size),
        "fps": stream.fps,
        "tokens": stream.tokens,
        "bytes": job.target.stat().st_size,
        "bits_per_pixel": bits / math.prod(stream.media_size),
        "seconds": watch.seconds - reading.seconds,
    }


def decode_media(loaded: Tokenizer, job: Job, fps: float | None) -> dict[str, Any]:
    """Writes the image or video of a latents file; the numbers of its row in the table."""
    header: LatentHeader = job.header
    model, watch = loaded.model, Stopwatch()
    check_latents_fit(header, model, loaded.name, loaded.fingerprint)
    pieces: Iterable[torch.Tensor] = iter_latents(job.path, header)
    if header.content == "codes":
        pieces = map(model.quantizer.from_codes, pieces)
    decoded = (piece.float().cpu() for piece in model.decode_stream(pieces, num_frames=header.media_size[0]))
    frames = (to_pixels(loaded, header.kind, piece, header.media_size[1:]) for piece in watch.time(decoded))
    write_media(job.target, header.kind, frames, header.fps, fps)
    return {
        "file": str(job.path),
        "output": str(job.target),
        "kind": header.kind,
        "model": loaded.name,
        "media_size": list(header.media_size),
        "fps": header.fps,
        "tokens": header.tokens,
        "seconds": watch.seconds,
    }


def embed_media(loaded: Tokenizer, job: Job) -> torch.Tensor:
    """(d,) of length 1 in fp32. The pooling looks at all tokens, so a video is encoded as a whole."""
    modality = {"image": "images", "video": "videos", "object": "voxels"}[job.kind]
    inputs = loaded.processor(**{modality: [str(job.path)]})
    with torch.no_grad():
        features = loaded.model.get_image_features(
            inputs.pixel_values.to(loaded.model.device),
            inputs.coords.to(loaded.model.device),
            inputs.cu_seqlens.to(loaded.model.device),
        )
    vector = torch.nn.functional.normalize(features.pooler_output[0].float().cpu(), dim=0)
    if not vector.isfinite().all():
        raise ValueError("the embedding is not finite; use --dtype float32 or bfloat16")
    return vector


def embed_texts(loaded: Tokenizer, texts: list[str]) -> torch.Tensor:
    """(texts, d) of length 1 in fp32. Raises ValueError if the model takes no text."""
    import torch

    if loaded.model.text_model is None:
        raise ValueError(f"--text: the model {loaded.name} has no text tower; convert one with --text-tower")
    if loaded.processor.tokenizer is None:
        raise ValueError(f"--text: the model {loaded.name} has a text tower but no tokenizer files")
    length = min(64, loaded.model.config.text_config.max_position_embeddings)
    inputs = loaded.processor(text=texts, text_kwargs={"max_length": length})
    with torch.no_grad():
        features = loaded.model.get_text_features(inputs.input_ids.to(loaded.model.device))
    return torch.nn.functional.normalize(features.pooler_output.float().cpu(), dim=-1)


def demo_row(loaded: list[Tokenizer], job: Job, folder: Path, media: Path) -> dict[str, Any]:
    """Writes an original and its reconstructions into `folder`; what the table and the page say about them."""
    shown, results, originals = [], [], []
    for tokenizer in loaded:
        trip = RoundTrip(tokenizer.model, MediaStream.open(tokenizer, job.path, job.kind), torch.bfloat16)
        originals, frames = [], []
        for original, reconstruction in trip:
            originals.extend(original)
            frames.extend(reconstruction)
        results.append({"file": job.path.name, "model": tokenizer.name, **trip.facts()})
        shown.append(frames)
    # With the suffix in the name, photo.jpg and photo.mp4 do not meet.
    stem = "-".join((*job.name.parent.parts, job.path.name.replace(".", "-")))
    pictures = [
        _demo_picture(folder / f"{stem}.{label}", frames, job.kind, results[0]["fps"])
        for label, frames in zip(
            ["original", *(Path(tokenizer.name).name for tokenizer in loaded)], [originals, *shown], strict=True
        )
    ]
    return {"name": str(job.path.relative_to(media)), "results": results, "pictures": pictures}


def _demo_picture(base: Path, frames: list[np.ndarray], kind: str, fps: float | None) -> tuple[str, str | None]:
    """The names of a picture, or of a clip and its poster."""
    still = base.with_name(f"{base.name}.png")
    media_reading_atoken.write_image(still, frames[0])
    if kind == "image":
        return still.name, None
    clip = base.with_name(f"{base.name}.mp4")
    # Browsers show yuv420p only, which has even sides; the numbers are of the whole frames.
    height, width = (side - side % 2 or side for side in frames[0].shape[:2])
    media_reading_atoken.write_video(clip, (frame[:height, :width] for frame in frames), fps or 10.0, crf=12)
    return clip.name, still.name
