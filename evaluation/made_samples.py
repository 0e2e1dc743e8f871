"""Pictures of the first media and objects that a model has made."""

from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from atoken.pages.picture_grid import picture_grid
from atoken.processing.atomic_files_atoken import atomic_file

from .captions import made_path, media_names
from .plan import Task
from .sample_files import read_reconstruction

COUNT, FOLDER = 8, "shown"
FRAMES = 4  # of a clip
LONGEST = 512  # pixels of a picture's longer side


@dataclass(frozen=True)
class MadeSample:
    """Holds what it should show, and where the picture of what was made is, relative to the output."""

    caption: str
    picture: str


@dataclass(frozen=True)
class Made:
    """Lists the first media or objects that a model has made of a set."""

    model: str
    set: str
    samples: list[MadeSample]


def draw_made(task: Task, output: Path) -> Made:
    """
    Draws the first samples of a finished task.

    Images are shown as they are, of clips some frames side by side, of objects the picture beside views of the true
    one, above views of the made one.

    Args:
        task: on captions or pictures.
        output: the pictures go into its folder `shown`.

    Raises:
        FileNotFoundError: what was made is gone.
    """
    folder = output / FOLDER / task.entry.name / task.set_entry.name
    folder.mkdir(parents=True, exist_ok=True)
    samples = []
    kind = "image" if task.samples.kind == "object" else task.samples.kind
    for index, name in enumerate(media_names(task.samples)[:COUNT]):
        made = made_path(task.made, name, kind)
        if not made.is_file():
            raise FileNotFoundError(f"output must still have all that was made, got no {made}; overwrite all of it")
        media = read_reconstruction(made)
        if len(media) > 1:
            chosen = torch.linspace(0, len(media) - 1, FRAMES).round().long()
            pixels = picture_grid(media[chosen], FRAMES)
        else:
            pixels = media[0].permute(1, 2, 0)
        picture = Image.fromarray(pixels.contiguous().numpy())
        picture.thumbnail((LONGEST, LONGEST))
        path = folder / f"{index}.png"
        with atomic_file(path) as temporary:
            picture.save(temporary)
        samples.append(MadeSample(_caption(task, index), path.relative_to(output).as_posix()))
    return Made(task.entry.name, task.set_entry.name, samples)


def _caption(task: Task, index: int) -> str:
    sample = task.samples.samples[index]
    return sample.captions[0] if sample.captions else sample.name
