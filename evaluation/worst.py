"""Pictures of the samples that came back worst, each beside its original."""

from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from atoken.processing.atomic_files_atoken import atomic_file

from .interface import MediaTokenizer, ObjectTokenizer, Reconstructions
from .plan import Task
from .reconstruction import round_trips

COUNT, FOLDER = 4, "worst"
LONGEST = 384  # pixels of a picture's longer side


@dataclass(frozen=True)
class WorstSample:
    """Holds the name and PSNR of a sample, and where its picture is, relative to the output."""

    name: str
    psnr: float
    picture: str


@dataclass(frozen=True)
class Worst:
    """Lists the samples of a set that came back worst from a model."""

    model: str
    set: str
    samples: list[WorstSample]


@torch.inference_mode()
def draw_worst(task: Task, tokenizer: MediaTokenizer | ObjectTokenizer | Reconstructions, output: Path) -> Worst:
    """
    Draws the samples of lowest PSNR, the original on the left; of clips and objects the middle picture.

    Args:
        task: a finished one.
        output: the pictures go into its folder `worst`.
    """
    records = [record for chunk, _ in task.chunks for record in chunk]
    ranked = sorted((record["psnr"], index) for index, record in enumerate(records) if record.get("psnr") is not None)
    folder = output / FOLDER / task.entry.name / task.set_entry.name
    samples = []
    worst = ranked[:COUNT]
    trips = round_trips(tokenizer, task.samples, [index for _, index in worst])
    for rank, ((psnr, index), trip) in enumerate(zip(worst, trips, strict=True)):
        middle = len(trip.original) // 2
        pair = torch.cat([trip.original[middle], trip.result[middle]], dim=-1).permute(1, 2, 0).numpy()
        picture = Image.fromarray(pair)
        picture.thumbnail((2 * LONGEST, LONGEST))
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{rank}.png"
        with atomic_file(path) as temporary:
            picture.save(temporary)
        name = task.samples.samples[index].name
        samples.append(WorstSample(name, psnr, path.relative_to(output).as_posix()))
    return Worst(task.entry.name, task.set_entry.name, samples)
