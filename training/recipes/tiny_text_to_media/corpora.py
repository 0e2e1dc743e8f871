"""Corpora that the generator learns of: scenes and their captions in parquet files, and their latents."""

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from atoken.processing.atomic_files_atoken import atomic_file
from atoken.tokenizing.corpus.arrow import import_arrow

from ..tiny_generators.corpora import write_corpus
from .worlds import FRAMES, SIZE, learned_world

_WRITTEN_ROWS = 512  # at a time
_MILLISECONDS = 125  # of a frame


def write_scenes(path: Path, kind: str, count: int) -> None:
    """Writes the first scenes of a kind as a parquet file of PNGs, animated ones of videos, and captions."""
    if path.is_file():
        return
    pa, pq = import_arrow()
    path.parent.mkdir(parents=True, exist_ok=True)
    world, schema = learned_world(kind, count), pa.schema({kind: pa.binary(), "caption": pa.string()})
    with atomic_file(path) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        for start in range(0, count, _WRITTEN_ROWS):
            items = [world[index] for index in range(start, min(start + _WRITTEN_ROWS, count))]
            columns = {kind: [_png(np.asarray(item["sample"])) for item in items]}
            writer.write_table(pa.table({**columns, "caption": [item["caption"] for item in items]}, schema))


def write_latents(scenes: Path, kind: str, tokenizer: Path, out: Path) -> None:
    """Writes the latents of scenes, as `atoken tokenize --keep caption` does; goes on where it was stopped."""
    options = {"kind": kind, "size": SIZE, "keep": {"caption": "caption"}}
    write_corpus(scenes, tokenizer, out, **options, **({"frames": FRAMES} if kind == "video" else {}))


def _png(pixels: np.ndarray) -> bytes:
    """([T,] 3, H, W) uint8 -> a file."""
    frames = [Image.fromarray(each.transpose(1, 2, 0)) for each in (pixels if pixels.ndim == 4 else pixels[None])]
    file, animation = BytesIO(), {}
    if len(frames) > 1:
        # Ways of blending in turn, which do not matter without alpha: equal frames would be written as one.
        blend = [index % 2 for index in range(len(frames))]
        animation = {"save_all": True, "append_images": frames[1:], "duration": _MILLISECONDS, "blend": blend}
    frames[0].save(file, format="PNG", compress_level=1, **animation)
    return file.getvalue()
