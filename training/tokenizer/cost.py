"""The cost of a stage: operations of its schedule, the balance of its processes, and GPU hours at a measured speed.

    python -m atoken.training.tokenizer.cost training/tokenizer/stages/so400m-*.yaml --processes 256 --mfu 0.4

Steps are those that the trainer would plan: the same draws, the same shares of the processes. Hours are given item by
item: the model's own operations, the other networks, what is computed twice where activations are not kept, and what
all wait for because processes have unequal loads. `--tokens-per-second` is one GPU's, from the log of a run of that
stage; without one, hours follow from `--mfu`, an assumption until it is measured.
"""

import json
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from atoken import AtokenConfig, AtokenModel

from ..data.limits import LATENT
from ..data.step_plan import Step, TaskPlan
from ..data.tasks import batch_size
from ..throughput import PEAKS
from .arithmetic import ALEX_FLOPS, CLIP_FLOPS, VGG_FLOPS, text_flops, tower_flops
from .curriculum import DISTILLED, Stage
from .networks import ALEX_CROPS
from .objective import TRUNK_PARTS
from .tiles import Tiles

STEPS = 24  # that are planned of each task
# What the data decide: objects' voxels, and seconds of captioned videos.
OBJECT_VOXELS, SECONDS = 10000, 15


@dataclass(frozen=True)
class Loading:
    """
    Holds the seconds of one CPU core that making a sample takes, as `benchmarks/loading.py` measures them.

    Attributes:
        picture: to read and decode one.
        token: to resize and pack a token of a picture.
        clip: to decode and pack a clip that is reconstructed.
        captioned: the same of one that is understood.
        voxels: to read and pack an object.
    """

    picture: float = 8e-3
    token: float = 5e-6
    clip: float = 0.65
    captioned: float = 0.74
    voxels: float = 5e-3


@dataclass
class Cost:
    """
    Holds the mean of a step on one process.

    Attributes:
        tokens: that the encoder sees.
        model, networks, recomputed: operations of the model and its teacher; of the text tower and perceptual networks;
            and of the blocks' second forward pass, where their activations are not kept.
        balance: mean over the largest load of a process, of the step.
        loading: seconds of one CPU core.
    """

    tokens: float = 0.0
    model: float = 0.0
    networks: float = 0.0
    recomputed: float = 0.0
    balance: float = 0.0
    loading: float = 0.0


def per_step(
    stage: Stage, model: AtokenModel, processes: int, with_teacher: bool = True, loading: Loading = Loading()
) -> Cost:
    """
    Computes the mean cost of a step from planned ones.

    Args:
        stage: whose schedule, and whose temporal tiles.
        model: whose operations are counted; may be on the meta device.
        processes: that share a step.
        with_teacher: whether images are distilled.
        loading: what samples cost a CPU.
    """
    total = sum(stage.ratios.values())
    turns = {task: ratio / total for task, ratio in stage.ratios.items()} or {None: 1.0}
    every = [DISTILLED] if DISTILLED in stage.tasks else []
    distilled = [_task_cost(stage, task, model, processes, with_teacher, loading) for task in every]
    cost, slowest = Cost(), 0.0
    for task, share in turns.items():
        parts = [*distilled, *([] if task is None else [_task_cost(stage, task, model, processes, False, loading)])]
        for part in parts:
            for name in ("tokens", "model", "networks", "recomputed", "loading"):
                setattr(cost, name, getattr(cost, name) + share * getattr(part, name))
            slowest += share * part.model / part.balance
    cost.balance = cost.model / slowest
    return cost


def _task_cost(
    stage: Stage, task: str, model: AtokenModel, processes: int, with_teacher: bool, loading: Loading
) -> Cost:
    size = batch_size(stage.batch_sizes[task], stage.step_tokens)
    plan = TaskPlan(task, stage.limits, size, 0, lambda first, count: np.full(count, np.inf))
    towers = [model.vision_model] if task.endswith("understanding") else [model.vision_model, model.decoder]
    tiles = Tiles(model.config, stage.tile_frames, stage.cached_share)
    cost, largest, first = Cost(), 0.0, 0

    @cache
    def flops_of(shape: tuple[int, float]) -> float:
        cuts = tiles.cuts(task, shape[0] - 1)
        return sum(tower_flops(tower, [shape], cuts) for tower in towers)

    for _ in range(STEPS):
        step = plan.step(first)
        first += len(step)
        shapes = _shapes(task, stage, step)
        tokens = np.array([frames * cells for frames, cells in shapes])
        flops = np.array([flops_of(shape) for shape in shapes])
        loads = [sum(float(flops[part].sum()) for part in own) for own in step.split(processes, stage.max_tokens)]
        largest += max(loads) / STEPS
        samples = len(step) / processes / STEPS
        cost.tokens += float(tokens.sum()) / processes / STEPS
        cost.model += sum(loads) / processes / STEPS
        cost.networks += samples * _networks(stage, task, model)
        cost.loading += samples * _loading_seconds(task, float(tokens.mean()), loading)
    cost.balance = cost.model / largest
    cost.recomputed = cost.model / 3
    if with_teacher and task == DISTILLED:
        cost.model += cost.model / 3
    return cost


def _shapes(task: str, stage: Stage, step: Step) -> list[tuple[int, float]]:
    """Gives the latent frames and the tokens of a latent frame of each sample."""
    limits = stage.limits
    if task.startswith("3d"):
        return [(1, min(OBJECT_VOXELS, int(most))) for most in step.tokens]
    if task == "video_understanding":
        frames = -(-min(SECONDS, limits.understanding_frames) // LATENT)
        return [(frames, min(limits.understanding_tokens, limits.max_tokens // frames))] * len(step)
    frames = 1 if step.frames is None else -(-step.frames // LATENT)
    return [(frames, float(tokens) / frames) for tokens in step.tokens]


def _networks(stage: Stage, task: str, model: AtokenModel) -> float:
    if task.endswith("understanding"):
        return text_flops(model, 1)
    if not task.startswith("image"):
        return 0.0
    weighed = set(stage.losses["image"])
    trunk = VGG_FLOPS * bool(weighed & set(TRUNK_PARTS))
    if "st_lpips_alex" in weighed:
        # Gram is then by the same AlexNet.
        trunk = ALEX_FLOPS * ALEX_CROPS.share
    return trunk + CLIP_FLOPS * ("clip" in weighed)


def _loading_seconds(task: str, tokens: float, loading: Loading) -> float:
    if task.startswith("image"):
        return loading.picture + loading.token * tokens
    return {"video_understanding": loading.captioned, "video_reconstruction": loading.clip}.get(task, loading.voxels)


def at_upper_ends(stage: Stage, largest: bool) -> Stage:
    """
    Makes a stage as costly as the paper's numbers allow.

    Args:
        stage: whose batches then have the largest numbers of samples, however many tokens these have.
        largest: whether all pictures and videos have the largest size, too.
    """
    changes = {}
    if largest:
        changes["frames"] = (max(stage.frames),)
        for name in ("image_resolution", "video_resolution"):
            given = getattr(stage, name)
            changes[name] = None if given is None else (given[1], given[1])
    return replace(stage, step_tokens=None, **changes)


def main(
    stages: Annotated[list[Path], typer.Argument(help="Stage files.")],
    preset: Annotated[str, typer.Option(help="The model's size.")] = "so400m",
    processes: Annotated[int, typer.Option(help="GPUs.")] = 256,
    tokens_per_second: Annotated[float | None, typer.Option(help="Of one GPU, measured.")] = None,
    mfu: Annotated[float, typer.Option(help="Share of the peak, where no speed is given.")] = 0.4,
    gpu: Annotated[str, typer.Option(help=f"One of {', '.join(PEAKS)}.")] = "H100",
    upper: Annotated[bool, typer.Option(help="Take the largest batches that the paper names.")] = False,
    largest: Annotated[bool, typer.Option(help="Take the largest sizes, too.")] = False,
) -> None:
    """Prints one line of JSON for each stage, and the total."""
    total = 0.0
    for path in stages:
        stage = Stage.read(path)
        if upper or largest:
            stage = at_upper_ends(stage, largest)
        with torch.device("meta"):
            model = AtokenModel(AtokenConfig.from_preset(preset, latent_channels=stage.latent_channels))
        step = per_step(stage, model, processes)

        def hours(flops: float, stage: Stage = stage) -> float:
            return flops / (mfu * PEAKS[gpu]) * stage.steps * processes / 3600

        parts = {"model": hours(step.model), "networks": hours(step.networks)}
        if tokens_per_second is not None:
            parts = {"measured": step.tokens / tokens_per_second * stage.steps * processes / 3600}
        whole = sum(parts.values())
        parts["uneven loads"] = whole * (1 / step.balance - 1) if tokens_per_second is None else 0.0
        whole += parts["uneven loads"]
        total += whole
        facts = {"stage": stage.name, "steps": stage.steps, "tokens a step and GPU": round(step.tokens)}
        facts |= {"TFLOP a step and GPU": round(step.model / 1e12, 1), "mean / max load": round(step.balance, 3)}
        facts |= {"GPU hours": {name: round(value) for name, value in parts.items()} | {"all": round(whole)}}
        facts["GPU hours if every block is computed twice"] = round(whole + hours(step.recomputed))
        seconds = whole * 3600 / stage.steps / processes
        facts["CPU cores a GPU for loading"] = round(step.loading / seconds, 1)
        facts["from"] = f"{tokens_per_second} tokens/s" if tokens_per_second else f"assumed MFU {mfu} of {gpu}"
        print(json.dumps(facts))
    print(json.dumps({"GPU hours": round(total)}))


if __name__ == "__main__":
    typer.run(main)
