"""A picture for people: each row has what an object was made of, views of the true one, and of the made one."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from atoken import render
from atoken.evaluation.metrics.object_measures import TrueObject
from atoken.processing.atomic_files_atoken import atomic_file
from atoken.tokenizing.pictures import to_bytes

_GAP = 2  # pixels between pictures


def save_pictures(pipeline: Any, trues: list[TrueObject], path: Path) -> None:
    """Generates an object of each picture and writes a PNG of all of them; one without voxels is black."""
    rows = []
    for index, true in enumerate(trues):
        size = true.views.shape[-1]
        black = Image.new("RGBA", true.picture.size, (0, 0, 0, 255))
        shown = Image.alpha_composite(black, true.picture).convert("RGB").resize((size, size))
        try:
            made = pipeline(true.picture, generator=torch.Generator().manual_seed(index)).gaussians[0]
            views = to_bytes(render(made, true.cameras, size))
        except ValueError:
            views = np.zeros((len(true.views), size, size, 3), np.uint8)
        pictures = [np.asarray(shown), *true.views.permute(0, 2, 3, 1).numpy(), *views]
        rows.append(np.concatenate([np.pad(each, ((0, _GAP), (0, _GAP), (0, 0))) for each in pictures], axis=1))
    with atomic_file(path) as temporary:
        Image.fromarray(np.concatenate(rows)).save(temporary, format="PNG")
