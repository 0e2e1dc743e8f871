"""Training steps of stages 1 and 2 on one rank's share of 256: time, the share of the peak, and memory."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

from atoken import AtokenModel

from .arithmetic import share_of_peak
from .models import make_config
from .parts import Row, Setup, attempt, timed

STAGES = Path(__file__).parents[2] / "training" / "tokenizer" / "stages"
RANKS = 256
PLANNED = 24  # steps of a task, one of which is measured
EXAMPLES = 1000  # that the source of noise says it has
TEXT_LENGTH = 64
SECONDS, CLIP_FRAMES = 15, 400  # of a captioned clip at one frame a second, and of one at the usual rate
WITH_VGG = "l1,lpips-random,gram-random"


@torch.enable_grad()
def measure_training(setup: Setup) -> Iterator[Row]:
    """
    Measures steps of one process: distillation from a teacher of the same size, and each task of the stage.

    Weights and pixels are random. AdamW moves the weights; there are no moving averages and no other processes.
    """
    # VGG sees pictures of 224 pixels, which takes a CPU too long for a test.
    variants = itertools.product((1, 2), ("l1",) if setup.tiny else ("l1", WITH_VGG), (False, True))
    for number, losses, checkpointing in variants:
        row = {"case": f"stage {number}", "image_losses": losses, "checkpointing": checkpointing}
        yield attempt(row, partial(_steps, number, losses, checkpointing, setup))


def read_stage(number: int, setup: Setup) -> Any:
    """Reads a stage of So400m; for a test with few small samples in a step."""
    from atoken.training.tokenizer.curriculum import Stage

    stage = Stage.read(STAGES / f"so400m-{number}.yaml")
    if not setup.tiny:
        return stage
    small = {"image_resolution": (32, 32), "frames": (32,), "understanding_tokens": 4, "max_tokens": 64}
    if stage.video_resolution is not None:
        small["video_resolution"] = (32, 32)
    return replace(stage, batch_sizes=dict.fromkeys(stage.batch_sizes, 2), step_tokens=None, **small)


@cache
def prepare(number: int, setup: Setup) -> tuple[Any, Any, dict[str, list[Any]]]:
    """Gives a stage, how it cuts clips, and of each of its tasks the micro-batches of a step, see `step_batches`."""
    from atoken.training.tokenizer.tiles import Tiles

    stage = read_stage(number, setup)
    config = make_config(setup, stage.latent_channels, with_text=True)
    tiles = Tiles(config, stage.tile_frames, stage.cached_share)
    words = config.text_config.vocab_size
    return stage, tiles, {task: step_batches(task, stage, tiles, words, setup) for task in stage.tasks}


def step_batches(task: str, stage: Any, tiles: Any, words: int, setup: Setup) -> list[Any]:
    """
    Makes one rank's micro-batches of noise, as a trainer's workers hand them over: on the host, with their layouts.

    Args:
        task: of the stage.
        stage: whose trainer plans steps; the one that is made costs about what they cost in the mean.
        tiles: how clips are cut.
        words: in the vocabulary of the text tower.
        setup: for a test, one rank has the whole step.
    """
    from atoken.training.data.mixing import Mixture
    from atoken.training.data.sources import IndexedSource
    from atoken.training.data.task_batches import Batches
    from atoken.training.data.tasks import batch_size

    def read(index: int) -> dict[str, Any]:
        return {"media": _noise(task, setup), "caption": "words"}

    def tokenize(captions) -> torch.Tensor:
        return torch.randint(2, words, (len(captions), TEXT_LENGTH))

    batches = Batches(
        task,
        Mixture([IndexedSource("noise", read, EXAMPLES, 0, None)], 0),
        stage.limits,
        batch_size(stage.batch_sizes[task], stage.step_tokens),
        0,
        tokenize,
        tiles.layout,
        processes=1 if setup.tiny else RANKS,
    )
    steps = [batches.plan.step(0)]
    while len(steps) < PLANNED:
        steps.append(batches.plan.step(steps[-1].first + len(steps[-1])))
    costs = [float(step.costs.sum()) for step in steps]
    batches.number = min(steps, key=lambda step: abs(step.costs.sum() - sum(costs) / len(costs))).first
    made = [batches.make(order).batch for order in batches.order()]
    return [batch.pin_memory() for batch in made] if setup.device.type == "cuda" else made


def _steps(number: int, losses: str, checkpointing: bool, setup: Setup) -> Row:
    """Measures one step for each task that takes turns, and their mean by the stage's shares."""
    from atoken.training.tokenizer.networks import ImageLosses
    from atoken.training.tokenizer.objective import Objective

    stage, tiles, batches = prepare(number, setup)
    with torch.device(setup.device):
        model = AtokenModel(make_config(setup, stage.latent_channels, with_text=True))
        teacher = AtokenModel(make_config(setup)).vision_model
    chosen = ImageLosses.choose(losses, stage.losses["image"])
    trunk, _ = chosen.load(None, "")
    weights = {**stage.losses, "image": chosen.weights}
    objective = Objective(model, weights, teacher, trunk=trunk, tiles=tiles).to(setup.device).train()
    # Frozen networks in bf16, as autocast would have them anyway.
    teacher.to(setup.dtype)
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    trained = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-5, fused=setup.device.type == "cuda")
    total, tasks = sum(stage.ratios.values()), {}
    for task, share in stage.ratios.items():
        in_step = [*batches["image_understanding"], *batches[task]]
        for name, of_task, step in kinds_of_steps(task, tiles):
            measure = partial(_measure_steps, objective, optimizer, in_step, step, setup)
            tasks[name] = attempt({"share": of_task * share / total}, measure)
    found: Row = {"parameters": sum(parameter.numel() for parameter in trained), "tasks": tasks}
    if all("seconds" in one for one in tasks.values()):
        means = {
            name: sum(one["share"] * one[name] for one in tasks.values()) for name in ("seconds", "tokens", "flops")
        }
        found |= {"seconds": means["seconds"], "tokens_per_second": means["tokens"] / means["seconds"]}
        found["mfu"] = share_of_peak(means["flops"], means["seconds"], setup)
    return found


def kinds_of_steps(task: str, tiles: Any) -> Iterator[tuple[str, float, int]]:
    """Gives for each way in which a task's steps cut clips a name, its share of these steps, and the first of them."""
    for cut in tiles.cuts(task, 0):
        cached = bool(cut.cache)
        step = next(number for number in itertools.count() if tiles.is_cached(task, number) == cached)
        yield f"{task} through the cache" if cached else task, cut.share, step


def _measure_steps(
    objective: torch.nn.Module, optimizer: torch.optim.Optimizer, batches: list[Any], step: int, setup: Setup
) -> Row:
    tokens = sum(batch.num_tokens for batch in batches)
    flops = sum(_flops(objective, batch, step) for batch in batches)
    if setup.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(setup.device)
    seconds = timed(lambda: _step(objective, optimizer, batches, step, setup), setup)
    return {
        "seconds": seconds,
        "tokens_per_second": tokens / seconds,
        "mfu": share_of_peak(flops, seconds, setup),
        "micro_batches": {batch.task: sum(batch.task == one.task for one in batches) for batch in batches},
        "tokens": tokens,
        "flops": flops,
        "peak_memory_bytes": _most_memory(setup),
    }


def _step(
    objective: torch.nn.Module, optimizer: torch.optim.Optimizer, batches: list[Any], step: int, setup: Setup
) -> None:
    from atoken.training.contracts import Share

    # Before the step: one that ran out of memory has left its gradients.
    optimizer.zero_grad(set_to_none=True)
    autocast = partial(torch.autocast, setup.device.type, torch.bfloat16, enabled=setup.device.type == "cuda")
    with torch.no_grad(), autocast():
        commons = objective(batches)
    for batch, common in zip(batches, commons, strict=True):
        with autocast():
            loss = objective(batch.to(setup.device), Share(1.0, 1.0, step), common)["loss"]
        loss.backward()
    torch.nn.utils.clip_grad_norm_([one for group in optimizer.param_groups for one in group["params"]], 1.0)
    optimizer.step()


def _flops(objective: torch.nn.Module, batch: Any, step: int) -> float:
    """Counts the operations of a batch in a step of which it is known whether it goes through the cache."""
    from atoken.training.tokenizer.arithmetic import training_flops
    from atoken.training.tokenizer.tiles import last_frame

    cached = objective.tiles.is_cached(batch.task, step)
    cuts = objective.tiles.cuts(batch.task, last_frame(batch))
    (cut,) = (replace(cut, share=1.0) for cut in cuts if bool(cut.cache) == cached)
    return training_flops(objective.model, batch, objective.has_teacher, [cut])


def _most_memory(setup: Setup) -> int | None:
    return torch.cuda.max_memory_allocated(setup.device) if setup.device.type == "cuda" else None


def _noise(task: str, setup: Setup) -> torch.Tensor:
    """Draws what a source gives: a picture (3, H, W), the seconds of a captioned clip, or a long clip of one frame."""
    side = 64 if setup.tiny else 1024
    picture = torch.randint(0, 256, (3, side, side), dtype=torch.uint8)
    if task.startswith("image"):
        return picture
    picture = picture[:, : side // 2, : side // 2]
    return picture.expand(SECONDS if task.endswith("understanding") else CLIP_FRAMES, *picture.shape)
