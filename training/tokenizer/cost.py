"""The cost of a stage: tokens and operations of its schedule, and GPU hours at a measured speed.

    python -m atoken.training.tokenizer.cost training/tokenizer/stages/so400m-*.yaml --processes 256 \\
        --tokens-per-second 20000

Tokens are the means over resolutions, frames and turns that the stage file gives. `--tokens-per-second` is one GPU's,
from the log of a run of that stage; without one, hours follow from `--mfu`, an assumption until it is measured.
"""

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from atoken import AtokenConfig, AtokenModel

from ..data.batches import TrainingBatch
from ..data.samples import patches_that_fit
from ..throughput import PEAKS
from .arithmetic import training_flops
from .curriculum import Stage

DRAWS = 2000
# What the data decide: objects' voxels, and seconds of captioned videos.
OBJECT_VOXELS, SECONDS = 10000, 15


def sample_grid(task: str, stage: Stage, rng: np.random.Generator) -> tuple[int, int, int]:
    """Draws (t, h, w) of a square sample of a task; an object is a column of its voxels."""
    limits = stage.limits
    if task.startswith("3d"):
        most = limits.object_voxels if task == "3d_understanding" else limits.max_voxels
        return 1, 1, min(OBJECT_VOXELS, most or limits.max_tokens)
    if task.endswith("understanding"):
        frames = 1 if task.startswith("image") else min(SECONDS, limits.understanding_frames)
        frames = -(-frames // 4)
        return frames, *patches_that_fit(512, 512, 512.0, min(limits.understanding_tokens, limits.max_tokens // frames))
    if task.startswith("image"):
        return 1, *patches_that_fit(512, 512, float(rng.uniform(*limits.image_resolution)), limits.max_tokens)
    frames = int(rng.choice(limits.frames)) // 4
    side = float(rng.uniform(*limits.video_resolution))
    return frames, *patches_that_fit(512, 512, side, limits.max_tokens // frames)


def per_step(stage: Stage, model: AtokenModel, processes: int, with_teacher: bool = True) -> dict[str, float]:
    """Estimates the mean tokens and operations of one process in one step."""
    rng = np.random.default_rng(0)
    total = sum(stage.ratios.values())
    shares = {"image_understanding": 1.0} | {task: ratio / total for task, ratio in stage.ratios.items()}
    tokens = flops = 0.0
    for task, share in shares.items():
        grids = [sample_grid(task, stage, rng) for _ in range(DRAWS)]
        lengths = [t * h * w for t, h, w in grids]
        samples = max(1, stage.batch_sizes[task] // processes)
        if task.endswith("reconstruction"):
            samples = min(samples, max(1.0, stage.max_tokens / np.mean(lengths)))
        batch = TrainingBatch(task, torch.empty(0), torch.empty(sum(lengths), 0), torch.empty(0), grids, lengths, [])
        tokens += share * samples * float(np.mean(lengths))
        flops += share * samples * training_flops(model, batch, with_teacher) / DRAWS
    return {"tokens": tokens, "flops": flops}


def main(
    stages: Annotated[list[Path], typer.Argument(help="Stage files.")],
    preset: Annotated[str, typer.Option(help="The model's size.")] = "so400m",
    processes: Annotated[int, typer.Option(help="GPUs.")] = 256,
    tokens_per_second: Annotated[float | None, typer.Option(help="Of one GPU, measured.")] = None,
    mfu: Annotated[float, typer.Option(help="Share of the peak, where no speed is given.")] = 0.4,
    gpu: Annotated[str, typer.Option(help=f"One of {', '.join(PEAKS)}.")] = "H100",
) -> None:
    """Prints one line of JSON for each stage, and the total."""
    hours = 0.0
    for path in stages:
        stage = Stage.read(path)
        with torch.device("meta"):
            model = AtokenModel(AtokenConfig.from_preset(preset, latent_channels=stage.latent_channels))
        step = per_step(stage, model, processes)
        seconds = step["flops"] / (mfu * PEAKS[gpu])
        if tokens_per_second is not None:
            seconds = step["tokens"] / tokens_per_second
        gpu_hours = seconds * stage.steps * processes / 3600
        hours += gpu_hours
        facts = {"stage": stage.name, "steps": stage.steps, "tokens a step and GPU": round(step["tokens"])}
        facts |= {"TFLOP a step and GPU": round(step["flops"] / 1e12, 1), "GPU hours": round(gpu_hours)}
        facts["from"] = f"{tokens_per_second} tokens/s" if tokens_per_second else f"assumed MFU {mfu} of {gpu}"
        print(json.dumps(facts))
    print(json.dumps({"GPU hours": round(hours)}))


if __name__ == "__main__":
    typer.run(main)
