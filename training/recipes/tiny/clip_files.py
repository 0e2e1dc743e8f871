"""Clips as they are stored for training and evaluation: the files of packages, or stretches of them at a small size."""

import io
from pathlib import Path
from typing import Any

import av

from atoken.processing.atomic_files_atoken import atomic_file

from .package_archives import gunzip


def clip_content(content: bytes, path: str) -> bytes:
    """Gives a clip as its package has it, less the .gz that Debian puts around documentation."""
    return gunzip(content, path) if path.endswith(".gz") else content


def save_clip(content: bytes, target: Path) -> None:
    """Writes a clip as it is."""
    with atomic_file(target) as temporary:
        temporary.write_bytes(content)


def clip_facts(path: Path) -> dict[str, Any]:
    """Measures a clip: width, height, frames and frames a second."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        # Counted by decoding: a container need not say how many there are, or say it right.
        frames = sum(1 for _ in container.decode(stream))
        rate = stream.average_rate
        return {
            "width": stream.codec_context.width,
            "height": stream.codec_context.height,
            "frames": frames,
            "fps": round(float(rate), 3) if rate else None,
        }


def cut_clip(
    content: bytes,
    target: Path,
    first_frame: int,
    frames: int,
    short_side: int | None = None,
    long_side: int | None = None,
) -> None:
    """
    Re-encodes a stretch of a clip, at its own frame rate and nearly without loss (H.264, CRF 12).

    Args:
        content: the file of the clip.
        target: file to write, .mp4.
        first_frame, frames: where the stretch begins, and how many frames it has at most.
        short_side, long_side: pixels that a side has at most; one of the two.

    Raises:
        ValueError: the clip has no frame rate, or no such frames.
    """
    with (
        atomic_file(target) as temporary,
        av.open(io.BytesIO(content)) as reader,
        av.open(str(temporary), "w") as writer,
    ):
        stream = reader.streams.video[0]
        rate = stream.average_rate
        if rate is None:
            raise ValueError(f"{target.name}: the source must have a frame rate, got none")
        width, height = stream.codec_context.width, stream.codec_context.height
        scale = min(1.0, short_side / min(width, height) if short_side else (long_side or width) / max(width, height))
        output = writer.add_stream("libx264", rate=rate)
        # 4:2:0 needs even sides.
        output.width, output.height = round(width * scale / 2) * 2, round(height * scale / 2) * 2
        output.pix_fmt = "yuv420p"
        # The same bytes every time: x264's faster code paths, and more threads than one, make them vary.
        output.options = {"crf": "12", "preset": "slow", "x264-params": "cpu-independent=1"}
        output.codec_context.thread_count = 1
        output.codec_context.time_base = 1 / rate
        # Untagged, players and readers have to guess which YUV it is.
        for tag in ("color_range", "colorspace", "color_primaries", "color_trc"):
            setattr(output.codec_context, tag, getattr(stream.codec_context, tag))
        count = 0
        for index, frame in enumerate(reader.decode(stream)):
            if index < first_frame:
                continue
            if index >= first_frame + frames:
                break
            small = frame.reformat(
                width=output.width, height=output.height, format="yuv420p", interpolation="LANCZOS", threads=1
            )
            small.pts = index - first_frame
            small.time_base = output.codec_context.time_base
            # Left to the encoder: the picture types of the source say nothing about the shorter clip.
            small.pict_type = av.video.frame.PictureType.NONE
            writer.mux(output.encode(small))
            count += 1
        if count == 0:
            raise ValueError(f"{target.name}: first_frame must be before the end of the clip, got {first_frame}")
        writer.mux(output.encode())
