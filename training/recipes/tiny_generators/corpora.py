"""Corpora that the generators learn of: scenes as pictures in a parquet file, and their latents and codes.

Scenes are drawn without end, so there are as many as are wanted and no mirror images: a mirror keeps color and shape,
but not where the light comes from.
"""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from atoken.processing.atomic_files_atoken import atomic_file
from atoken.tokenizing.corpus.arrow import import_arrow
from atoken.tokenizing.corpus.finishing import finish
from atoken.tokenizing.corpus.opening import open_source
from atoken.tokenizing.corpus.options import TokenizeOptions
from atoken.tokenizing.corpus.plan import make_plan
from atoken.tokenizing.corpus.work import DamagedUnit, work
from atoken.tokenizing.loading import load_model

from .scenes import SIZE, draw_scene, label_of

_WRITTEN_ROWS = 1024  # at a time


def write_pictures(path: Path, count: int) -> None:
    """Writes the first scenes of the set "generators" as a parquet file of PNGs and labels, unless it is there."""
    if path.is_file():
        return
    pa, pq = import_arrow()
    path.parent.mkdir(parents=True, exist_ok=True)
    schema = pa.schema({"image": pa.binary(), "label": pa.int64()})
    with atomic_file(path) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        for start in range(0, count, _WRITTEN_ROWS):
            indices = range(start, min(start + _WRITTEN_ROWS, count))
            columns = {"image": [_png(index) for index in indices], "label": [label_of(index) for index in indices]}
            writer.write_table(pa.table(columns, schema))


def write_corpus(pictures: Path, tokenizer: Path, out: Path, **wanted: Any) -> None:
    """
    Writes the latents or codes of pictures, as `atoken tokenize` does; goes on where it was stopped.

    Args:
        pictures: that `write_pictures` has written.
        tokenizer: folder of the model; a discrete one gives codes.
        out: folder of the corpus.
        wanted: options of `TokenizeOptions` instead of those for pictures with labels.

    Raises:
        ValueError: a picture cannot be used.
    """
    loaded = load_model(str(tokenizer), "cpu", "float32")
    content = "codes" if loaded.discrete else "latents"
    wanted = {"size": SIZE, "keep": {"label": "label"}, "batch_tokens": 2048, **wanted}
    options = TokenizeOptions(content=content, **wanted)
    source = open_source(str(pictures), options)
    plan = make_plan(str(pictures), out, options, loaded, source)
    for record in work(plan, loaded, source):
        if isinstance(record, DamagedUnit):
            raise ValueError(f"pictures must be whole, got {pictures}: {record}")
    finish(plan)


def _png(index: int) -> bytes:
    file = BytesIO()
    Image.fromarray(draw_scene("generators", index).transpose(1, 2, 0)).save(file, format="PNG", compress_level=1)
    return file.getvalue()


def read_pictures(path: Path) -> np.ndarray:
    """Reads the pictures that `write_pictures` has written: (N, 3, 64, 64) uint8."""
    _, pq = import_arrow()
    images = pq.read_table(path, columns=["image"])["image"].to_pylist()
    return np.stack([np.asarray(Image.open(BytesIO(image))).transpose(2, 0, 1) for image in images])
