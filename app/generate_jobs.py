"""The work of `atoken generate`: images that are not there yet, by one process or many; a grid, a record, an `.npz`."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import torch.multiprocessing

from atoken.evaluation.array_files import write_arrays
from atoken.evaluation.gpus import use_gpu
from atoken.evaluation.models.generator_loading import LoadedGenerator, load_generator
from atoken.evaluation.seeded_images import SeededImages
from atoken.generation.class_names_atoken import class_numbers
from atoken.pages.picture_grid import picture_grid
from atoken.processing.atomic_files_atoken import atomic_file
from atoken.processing.media_reading_atoken import open_image
from atoken.processing.media_writing_atoken import write_image

from .console import progress_bar
from .errors import naming

RECORD, IMAGES, GRID = "generated.json", "images", "grid.png"
IN_GRID = 64  # images at most
WIDEST = 16  # columns of a grid that has one for each class
_LONGEST_NAME = 40


@dataclass(frozen=True)
class Run:
    """
    Says what is to be generated, and where.

    Attributes:
        folder: of the output.
        record: JSON-ready, all that decides the images.
    """

    folder: Path
    record: dict[str, Any]

    @classmethod
    def of(
        cls,
        loaded: LoadedGenerator,
        folder: Path,
        classes: list[int | str],
        count: int,
        seed: int,
        settings: dict[str, Any],
        dtype: str,
    ) -> Self:
        """
        Makes the record of a run.

        Raises:
            ValueError: there is no such class, or the model cannot be sampled from.
        """
        names, config = loaded.class_names, loaded.pipeline.transformer.config
        with naming("--class"):
            numbers = class_numbers(classes or range(config.num_classes), config.num_classes, names)
        with naming("--model"):
            images = SeededImages(loaded.pipeline, numbers, seed, settings)
        return cls(
            folder,
            {
                "model": loaded.name,
                "fingerprint": loaded.fingerprint,
                "pipeline": type(loaded.pipeline).__name__,
                "classes": [{"number": each, "name": names.get(each, f"class {each}")} for each in images.classes],
                "count": count,
                "seed": seed,
                "settings": images.settings,
                "dtype": dtype,
            },
        )

    def images_of(self, loaded: LoadedGenerator) -> SeededImages:
        """Gives the images of a generator that this run is of."""
        classes = [each["number"] for each in self.record["classes"]]
        return SeededImages(loaded.pipeline, classes, self.record["seed"], self.record["settings"])

    def path(self, index: int) -> Path:
        """Gives the file of image `index`, which names its class."""
        classes = self.record["classes"]
        name = classes[index % len(classes)]["name"].split(",")[0].lower()
        slug = re.sub(r"[^a-z0-9]+", "-", name).strip("-")[:_LONGEST_NAME] or "image"
        return self.folder / IMAGES / f"{index:06d}-{slug}.png"

    def missing(self) -> list[int]:
        """Lists the images that are not there."""
        folder = self.folder / IMAGES
        there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        return [index for index in range(self.record["count"]) if self.path(index).name not in there]


@dataclass(frozen=True)
class Workers:
    """
    Says who makes the images.

    Attributes:
        device: "cpu" or "cuda".
        processes: side by side.
        shard: which of how many calls this is.
        batch_size: images of a batch.
    """

    device: str
    processes: int
    shard: tuple[int, int]
    batch_size: int


def open_output(run: Run, overwrite: bool) -> None:
    """
    Makes the folder of a run, or finds that it is there and goes on.

    Args:
        overwrite: removes the images that are there.

    Raises:
        ValueError: the folder holds other files, or images of other settings.
    """
    folder = run.folder
    if folder.is_dir() and any(folder.iterdir()):
        there = _read_record(folder / RECORD)
        if there is None:
            raise ValueError(f"--output: {folder} holds other files than generated images; give another folder")
        if overwrite:
            shutil.rmtree(folder / IMAGES, ignore_errors=True)
            for path in (folder / GRID, folder / RECORD, *folder.glob("samples_*.npz")):
                path.unlink(missing_ok=True)
        elif there != run.record:
            names = [name for name in run.record if there.get(name) != run.record[name]]
            raise ValueError(
                f"--output: {folder} holds images of another {', '.join(names)}; use --overwrite to replace them, or "
                "give another folder"
            )
    (folder / IMAGES).mkdir(parents=True, exist_ok=True)
    with atomic_file(folder / RECORD) as temporary:
        temporary.write_text(json.dumps(run.record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _read_record(path: Path) -> dict[str, Any] | None:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and {"model", "classes", "seed"} <= record.keys() else None


def make_images(run: Run, loaded: LoadedGenerator, workers: Workers) -> int:
    """Makes this call's share of the images that are missing, and gives their number."""
    shard, shards = workers.shard
    share = [index for index in run.missing() if index % shards == shard]
    if not share:
        return 0
    batches = [share[start : start + workers.batch_size] for start in range(0, len(share), workers.batch_size)]
    parts = [batches[rank :: workers.processes] for rank in range(min(workers.processes, len(batches)))]
    with progress_bar() as bar:
        task = bar.add_task("generating", total=sum(map(len, parts[0])))

        def show(images: int) -> None:
            bar.advance(task, images)

        if len(parts) == 1:
            _make(run, loaded, parts[0], show)
        else:
            _make_side_by_side(run, loaded, workers.device, parts, show)
    return len(share)


def _make(run: Run, loaded: LoadedGenerator, batches: list[list[int]], show: Callable[[int], None]) -> None:
    images = run.images_of(loaded)
    for batch in batches:
        for index, image in zip(batch, images.images(batch), strict=True):
            write_image(run.path(index), image.permute(1, 2, 0).numpy())
        show(len(batch))


def _make_side_by_side(
    run: Run, loaded: LoadedGenerator, device: str, parts: list[list[list[int]]], show: Callable[[int], None]
) -> None:
    """Makes the first part in this process, while others make theirs."""
    all_threads = torch.get_num_threads()
    threads = max(1, all_threads // len(parts))
    arguments = (run, loaded.name, device, parts, threads)
    others = torch.multiprocessing.spawn(_make_beside, arguments, nprocs=len(parts) - 1, join=False)
    torch.set_num_threads(threads)
    try:
        _make(run, loaded, parts[0], show)
        while not others.join():
            pass
    finally:
        torch.set_num_threads(all_threads)
        for process in others.processes:
            process.terminate()  # those that still work when another has failed


def _make_beside(index: int, run: Run, name: str, device: str, parts: list[list[list[int]]], threads: int) -> None:
    torch.set_num_threads(threads)
    use_gpu(index + 1)
    _make(run, load_generator(name, device, run.record["dtype"]), parts[index + 1], lambda images: None)


def finish(run: Run, npz: bool) -> dict[str, Any]:
    """
    Writes the grid and, if asked for, the `.npz`, once all images are there.

    Returns:
        What is to be reported: the output, how many images are missing, and the files.
    """
    missing = len(run.missing())
    facts: dict[str, Any] = {"output": str(run.folder), "missing": missing, "grid": None, "npz": None}
    if missing:
        return facts
    count, classes = run.record["count"], run.record["classes"]
    shown = [open_image(run.path(index)) for index in range(min(count, IN_GRID))]
    columns = len(classes) if 1 < len(classes) <= WIDEST else None
    write_image(run.folder / GRID, picture_grid(torch.stack(shown), columns))
    facts["grid"] = str(run.folder / GRID)
    if npz:
        shape = (count, *shown[0].shape[1:], 3)
        path = run.folder / f"samples_{'x'.join(map(str, shape))}.npz"
        labels = np.array([classes[index % len(classes)]["number"] for index in range(count)])
        images = (open_image(run.path(index)).permute(1, 2, 0).numpy() for index in range(count))
        write_arrays(path, images, shape, labels)
        facts["npz"] = str(path)
    return facts
