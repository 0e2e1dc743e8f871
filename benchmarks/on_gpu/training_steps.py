"""Training steps of stages 1 and 2 on one rank's share of 256: time, the share of the peak, and memory."""

import itertools
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch

from atoken import AtokenModel
from atoken.tokens_atoken import grid_coords

from .models import make_config
from .parts import Row, Setup, attempt, timed

STAGES = Path(__file__).parents[2] / "training" / "tokenizer" / "stages"
RANKS = 256
TEXT_LENGTH = 64
WITH_VGG = "l1,lpips-random,gram-random"


@torch.enable_grad()
def measure_training(setup: Setup) -> Iterator[Row]:
    """
    Measures steps of one process: distillation from a teacher of the same size, and each task of the stage.

    Weights and pixels are random. AdamW moves the weights; there are no moving averages and no other processes.
    """
    from atoken.training.tokenizer.curriculum import Stage

    # VGG sees pictures of 224 pixels, which takes a CPU too long for a test.
    variants = itertools.product((1, 2), ("l1",) if setup.tiny else ("l1", WITH_VGG), (False, True))
    for number, losses, checkpointing in variants:
        stage = Stage.read(STAGES / f"so400m-{number}.yaml")
        row = {"case": f"stage {number}", "image_losses": losses, "checkpointing": checkpointing}
        yield attempt(row, partial(_steps, stage, losses, checkpointing, setup))


def _steps(stage, losses: str, checkpointing: bool, setup: Setup) -> Row:
    """Measures one step for each task that takes turns, and their mean by the stage's shares."""
    from atoken.training.tokenizer.networks import ImageLosses
    from atoken.training.tokenizer.objective import Objective

    config = make_config(setup, stage.latent_channels, with_text=True)
    with torch.device(setup.device):
        model, teacher = AtokenModel(config), AtokenModel(config).vision_model
    chosen = ImageLosses.choose(losses, stage.losses["image"])
    trunk, _ = chosen.load(None, "")
    weights = {**stage.losses, "image": chosen.weights}
    objective = Objective(model, weights, teacher, trunk=trunk).to(setup.device)
    # Frozen networks in bf16, as autocast would have them anyway.
    teacher.to(setup.dtype)
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    trained = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-5, fused=setup.device.type == "cuda")
    distilled = _batch("image_understanding", stage, setup)
    total = sum(stage.ratios.values())
    found: Row = {"parameters": sum(parameter.numel() for parameter in trained), "tasks": {}}
    for task, share in stage.ratios.items():
        batches = (distilled, _batch(task, stage, setup))
        tokens, flops = (sum(values) for values in zip(*(_size(objective, one) for one in batches), strict=True))
        if setup.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(setup.device)
        seconds = timed(lambda batches=batches: _step(objective, optimizer, batches, setup), setup)
        found["tasks"][task] = {
            "share": share / total,
            "seconds": seconds,
            "tokens_per_second": tokens / seconds,
            "mfu": None if setup.peak is None else flops / seconds / setup.peak,
            "tokens": tokens,
            "flops": flops,
            "peak_memory_bytes": _most_memory(setup),
        }
    of_step = found["tasks"].values()
    seconds = sum(one["share"] * one["seconds"] for one in of_step)
    found |= {"seconds": seconds, "tokens_per_second": sum(one["share"] * one["tokens"] for one in of_step) / seconds}
    if setup.peak is not None:
        found["mfu"] = sum(one["share"] * one["flops"] for one in of_step) / seconds / setup.peak
    return found


def _step(objective: torch.nn.Module, optimizer: torch.optim.Optimizer, batches: tuple, setup: Setup) -> None:
    for batch in batches:
        with torch.autocast(setup.device.type, torch.bfloat16, enabled=setup.device.type == "cuda"):
            loss = objective(batch)["loss"]
        loss.backward()
    torch.nn.utils.clip_grad_norm_([one for group in optimizer.param_groups for one in group["params"]], 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _size(objective: torch.nn.Module, batch) -> tuple[int, float]:
    return batch.num_tokens, objective.count_flops(batch)


def _most_memory(setup: Setup) -> int | None:
    return torch.cuda.max_memory_allocated(setup.device) if setup.device.type == "cuda" else None


def _batch(task: str, stage, setup: Setup):
    """Draws one rank's batch of a task: sides and frames as the stage file spreads them, random pixels and texts."""
    from atoken.training.data.batches import collate
    from atoken.training.data.samples import TrainingSample

    rng = np.random.default_rng(0)
    wanted = 2 if setup.tiny else max(1, stage.batch_sizes[task] // RANKS)
    most = 32 if setup.tiny else stage.max_tokens
    samples, tokens = [], 0
    while len(samples) < wanted:
        grid = _grid(task, stage, rng, setup)
        count = grid[0] * grid[1] * grid[2]
        if samples and tokens + count > most:
            break
        tokens += count
        pixels = torch.rand(count, 3072) * 2 - 1
        caption = "words" if task.endswith("understanding") else None
        samples.append(TrainingSample(pixels, grid_coords(grid, torch.device("cpu")), grid, caption))
    words = 100 if setup.tiny else 256000

    def tokenize(captions) -> torch.Tensor:
        return torch.randint(2, words, (len(captions), TEXT_LENGTH))

    return collate(task, samples, list(range(len(samples))), tokenize).to(setup.device)


def _grid(task: str, stage, rng: np.random.Generator, setup: Setup) -> tuple[int, int, int]:
    """Draws latent frames, rows and columns of a square sample."""
    from atoken.training.data.samples import patches_that_fit

    limits = stage.limits
    if setup.tiny:
        return (2 if task.startswith("video") else 1), 2, 2
    if task.endswith("understanding"):
        frames = 4 if task.startswith("video") else 1  # of videos 15 seconds, one frame each
        return frames, *patches_that_fit(512, 512, 512.0, limits.understanding_tokens)
    resolution = limits.image_resolution if task.startswith("image") else limits.video_resolution
    frames = int(rng.choice(limits.frames)) // 4 if task.startswith("video") else 1
    return frames, *patches_that_fit(512, 512, float(rng.uniform(*resolution)), limits.max_tokens // frames)
