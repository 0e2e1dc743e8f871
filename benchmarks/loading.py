"""How fast batches of training are made, compared with decoding their media alone.

    python benchmarks/loading.py --workers 2

Photos of 400 to 800 pixels and clips of 1280 x 720 are written as WebDataset tars. Worker processes make batches of
them as training does; in turns with it, as many processes only decode the same media, by the same decoder. `x bare` is
the rate of the first over that of the second; `by CPU` is the ratio of the seconds that all processes have computed,
hand-over and this process included, which others on the machine disturb less. CPU seconds a sample are for `Loading` in
the cost tool. Planning is timed for 256 processes.
"""

import argparse
import io
import resource
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from statistics import median

import numpy as np
import torch
from measure import write_json
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader, Dataset

from atoken.processing.media_reading_atoken import write_video
from atoken.processing.picture_files_atoken import read_picture
from atoken.processing.pil_decoding_atoken import stored_to_rgb
from atoken.training.data.clip_files import read_clip
from atoken.training.data.clips import each_second, strided
from atoken.training.data.counter_random import CONTENTS, generator
from atoken.training.data.drawn_sources import OPENERS
from atoken.training.data.limits import Limits
from atoken.training.data.mixing import Mixture
from atoken.training.data.sources import open_source
from atoken.training.data.step_plan import BatchSize, TaskPlan
from atoken.training.data.task_batches import Batches, Made, Order

MEDIA = Path(__file__).parent.parent / "examples" / "media"
LIMITS = Limits(image_resolution=(64, 512), video_resolution=(64, 512))
# Samples of a batch: what one of 256 processes has in a step.
BATCHES = {"image_understanding": 32, "image_reconstruction": 16, "video_reconstruction": 2, "video_understanding": 4}
SIDES, SIZE, FRAMES = (400, 801), (1280, 720), 150


def write_photos(path: Path, count: int) -> None:
    """Writes crops of the example photos as JPEG, with captions."""
    photos = [Image.open(file).convert("RGB") for file in sorted(MEDIA.glob("*.jpg"))]
    rng = np.random.default_rng(0)
    with tarfile.open(path, "w") as tar:
        for index in range(count):
            photo, size = photos[index % len(photos)], tuple(int(side) for side in rng.integers(*SIDES, 2))
            file = io.BytesIO()
            photo.resize(size, Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
            add(tar, f"{index:05d}.jpg", file.getvalue())
            add(tar, f"{index:05d}.txt", f"a photo with the number {index}".encode())


def write_clips(path: Path, count: int) -> None:
    """Writes clips in H.264 over which the example photos move, with captions."""
    photos = [Image.open(file).convert("RGB") for file in sorted(MEDIA.glob("*.jpg"))]
    with tarfile.open(path, "w") as tar, tempfile.TemporaryDirectory() as folder:
        for index in range(count):
            picture = np.asarray(photos[index % len(photos)].resize(SIZE, Image.Resampling.BICUBIC))
            frames = np.stack([np.roll(picture, (index + 2) * frame, axis=1) for frame in range(FRAMES)])
            write_video(Path(folder) / "clip.mp4", frames, 25)
            add(tar, f"{index:05d}.mp4", (Path(folder) / "clip.mp4").read_bytes())
            add(tar, f"{index:05d}.txt", f"a clip with the number {index}".encode())


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """Adds a file to a tar."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def open_batches(task: str, folder: Path) -> Batches:
    """Opens the batches of a task."""
    is_image = task.startswith("image")
    entry = {"source": "webdataset", "files": str(folder / ("photos.tar" if is_image else "clips.tar"))}
    entry |= {"media": "jpg" if is_image else "mp4", "caption": "txt"}
    mixture = Mixture([open_source(entry, "image" if is_image else "video", 0, openers=OPENERS)], 0)
    size = BatchSize(BATCHES[task], BATCHES[task])
    return Batches(task, mixture, LIMITS, size, 0, lambda texts: torch.zeros(len(texts), 64, dtype=torch.int64))


def decode(batches: Batches, order: Order) -> int:
    """Decodes the media of a batch, as it has them, and nothing else."""
    for number in order.numbers:
        media, rng = batches.mixture.read(number)["media"], generator(batches.seed, CONTENTS, number)
        if batches.task.startswith("image"):
            stored_to_rgb(read_picture(media, "photo"), "photo", planar=False)
        elif batches.task == "video_reconstruction":
            read_clip(media, strided(order.frames, rng))
        else:
            read_clip(media, each_second(LIMITS.understanding_frames))
    return len(order.numbers)


def make(batches: Batches, order: Order) -> Made:
    """Makes a batch as training does."""
    return batches.make(order)


class Work(Dataset):
    """Does something for every order."""

    def __init__(self, batches: Batches, function: Callable[[Batches, Order], object]):
        self._batches, self._function = batches, function

    def __getitem__(self, order: Order) -> object:
        return self._function(self._batches, order)


def stream(
    batches: Batches, function: Callable[[Batches, Order], object], workers: int, count: int
) -> Iterator[object]:
    """Gives the results of the first orders from worker processes."""

    def orders() -> Iterator[Order]:
        while True:
            yield from batches.order()

    loader = DataLoader(
        Work(batches, function),
        sampler=islice(orders(), count),
        batch_size=None,
        collate_fn=lambda result: result,
        num_workers=workers,
        prefetch_factor=2,
        multiprocessing_context="fork",
    )
    return iter(loader)


def cpu_seconds() -> float:
    """Sums what this process and its ended workers have computed."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


def timed(
    task: str, folder: Path, function: Callable[[Batches, Order], object], workers: int, count: int
) -> dict[str, float]:
    """Times batches behind the first of each worker, and counts the CPU seconds of all of them."""
    before = cpu_seconds()
    results = stream(open_batches(task, folder), function, workers, count + workers)
    for _ in range(workers):
        next(results)
    start = time.perf_counter()
    for _ in results:
        pass
    wall = (time.perf_counter() - start) / count
    del results  # its workers end, and are counted
    return {
        "seconds": wall / BATCHES[task],
        "cpu_seconds": (cpu_seconds() - before) / (count + workers) / BATCHES[task],
    }


def measured(task: str, folder: Path, workers: int, count: int, rounds: int) -> dict:
    """Compares making batches of a task with decoding: in turns, by the median of the rounds' ratios."""
    times: dict[str, list[dict[str, float]]] = {"made": [], "bare": []}
    for _ in range(rounds):
        for name, function in (("made", make), ("bare", decode)):
            times[name].append(timed(task, folder, function, workers, count))
    batches = open_batches(task, folder)
    batch = batches.make(batches.order()[0]).batch
    each = {
        key: {name: [row[key] for row in rows] for name, rows in times.items()} for key in ("seconds", "cpu_seconds")
    }
    x_bare = {
        key: median(bare / made for made, bare in zip(values["made"], values["bare"], strict=True))
        for key, values in each.items()
    }
    return {
        "task": task,
        "samples_a_second": 1 / median(each["seconds"]["made"]),
        "decoded_a_second": 1 / median(each["seconds"]["bare"]),
        "x_bare": x_bare["seconds"],
        "x_bare_by_cpu": x_bare["cpu_seconds"],
        "cpu_seconds_a_sample": median(each["cpu_seconds"]["made"]),
        "tokens_a_sample": batch.num_tokens / batch.num_samples,
        "seconds_a_sample": each,
    }


def planning(processes: int, steps: int) -> dict:
    """Times the plan of steps of stages 1 to 3: milliseconds a sample."""
    found = {}
    size = BatchSize(1024, 4096, 256 * 32768)
    for stage, resolution in {1: (64, 512), 2: (64, 1024), 3: (64, 2048)}.items():
        limits = Limits(image_resolution=resolution)
        plan = TaskPlan("image_reconstruction", limits, size, 0, lambda first, count: np.full(count, np.inf))
        first, start = 0, time.process_time()
        for _ in range(steps):
            step = plan.step(first)
            step.split(processes, 32768)
            first += len(step)
        found[f"stage {stage}"] = 1e3 * (time.process_time() - start) / first
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="for the record; batches stay there")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--photos", type=int, default=256)
    parser.add_argument("--clips", type=int, default=12)
    parser.add_argument("--batches", type=int, default=32, help="in each round")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tasks", nargs="+", choices=list(BATCHES), default=list(BATCHES))
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_photos(folder / "photos.tar", arguments.photos)
        write_clips(folder / "clips.tar", arguments.clips)
        options = folder, arguments.workers, arguments.batches, arguments.repeats
        results = [measured(task, *options) for task in arguments.tasks]
    plan = planning(256, 5)
    shown = Table(title=f"Batches by {arguments.workers} processes")
    columns = "task", "samples / s", "decoded / s", "x bare", "by CPU", "CPU ms / sample", "tokens / sample"
    for column in columns:
        shown.add_column(column, justify="right")
    for row in results:
        rates = f"{row['samples_a_second']:.1f}", f"{row['decoded_a_second']:.1f}"
        rates += f"{row['x_bare']:.2f}", f"{row['x_bare_by_cpu']:.2f}"
        cost = f"{1e3 * row['cpu_seconds_a_sample']:.1f}", f"{row['tokens_a_sample']:.0f}"
        shown.add_row(row["task"], *rates, *cost)
    console = Console()
    console.print(shown)
    console.print("Planning for 256 processes, ms a sample: " + ", ".join(f"{k} {v:.4f}" for k, v in plan.items()))
    if arguments.json:
        protocol = {name: getattr(arguments, name) for name in ("workers", "photos", "clips", "batches", "repeats")}
        data = {"tasks": results, "planning_ms_a_sample": plan}
        write_json(arguments.json, "loading.py", torch.device("cpu"), protocol, data)


if __name__ == "__main__":
    main()
