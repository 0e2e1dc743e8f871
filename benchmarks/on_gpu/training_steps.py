"""Training steps of stages 1 and 2 on one rank's share of 256: time, the share of the peak, and memory."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from atoken import AtokenModel

from .arithmetic import share_of_peak
from .models import make_config
from .parts import Row, Setup, attempt, timed

STAGES = Path(__file__).parents[2] / "training" / "tokenizer" / "stages"
RANKS = 256
TEXT_LENGTH = 64
SECONDS, CLIP_FRAMES = 15, 400  # of a captioned clip at one frame a second, and of one at the usual rate
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

    with torch.device(setup.device):
        model = AtokenModel(make_config(setup, stage.latent_channels, with_text=True))
        teacher = AtokenModel(make_config(setup)).vision_model
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
    tasks: dict[str, Row] = {}
    for task, share in stage.ratios.items():
        batches = (distilled, _batch(task, stage, setup))
        tasks[task] = attempt({"share": share / total}, partial(_measure_steps, objective, optimizer, batches, setup))
    found: Row = {"parameters": sum(parameter.numel() for parameter in trained), "tasks": tasks}
    if all("seconds" in one for one in tasks.values()):
        means = {
            name: sum(one["share"] * one[name] for one in tasks.values()) for name in ("seconds", "tokens", "flops")
        }
        found |= {"seconds": means["seconds"], "tokens_per_second": means["tokens"] / means["seconds"]}
        found["mfu"] = share_of_peak(means["flops"], means["seconds"], setup)
    return found


def _measure_steps(objective: torch.nn.Module, optimizer: torch.optim.Optimizer, batches: tuple, setup: Setup) -> Row:
    tokens, flops = (sum(values) for values in zip(*(_size(objective, one) for one in batches), strict=True))
    if setup.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(setup.device)
    seconds = timed(lambda: _step(objective, optimizer, batches, setup), setup)
    return {
        "seconds": seconds,
        "tokens_per_second": tokens / seconds,
        "mfu": share_of_peak(flops, seconds, setup),
        "tokens": tokens,
        "flops": flops,
        "peak_memory_bytes": _most_memory(setup),
    }


def _step(objective: torch.nn.Module, optimizer: torch.optim.Optimizer, batches: tuple, setup: Setup) -> None:
    from atoken.training.contracts import Share

    # Before the step: one that ran out of memory has left its gradients.
    optimizer.zero_grad(set_to_none=True)
    autocast = partial(torch.autocast, setup.device.type, torch.bfloat16, enabled=setup.device.type == "cuda")
    with torch.no_grad(), autocast():
        commons = objective(list(batches))
    for batch, common in zip(batches, commons, strict=True):
        with autocast():
            loss = objective(batch, Share(1.0, 1.0), common)["loss"]
        loss.backward()
    torch.nn.utils.clip_grad_norm_([one for group in optimizer.param_groups for one in group["params"]], 1.0)
    optimizer.step()


def _size(objective: torch.nn.Module, batch) -> tuple[int, float]:
    return batch.num_tokens, objective.count_flops(batch)


def _most_memory(setup: Setup) -> int | None:
    return torch.cuda.max_memory_allocated(setup.device) if setup.device.type == "cuda" else None


def _batch(task: str, stage, setup: Setup):
    """Makes one rank's batch of a task, of noise in the sizes that the stage draws."""
    from atoken.training.data.batches import collate
    from atoken.training.data.samples import make_sample
    from atoken.training.data.tasks import batch_size

    rng, limits = np.random.default_rng(0), stage.limits
    size = batch_size(stage.batch_sizes[task], stage.step_tokens)
    wanted, most = max(1, size.most // RANKS), stage.max_tokens
    if setup.tiny:
        wanted, most = 2, 64
        limits = replace(limits, image_resolution=(32, 32), video_resolution=(32, 32), frames=(8,))
        limits = replace(limits, understanding_tokens=4, max_tokens=most)
    if task.endswith("understanding"):
        most = wanted * limits.max_tokens
    samples, tokens = [], 0
    while len(samples) < wanted:
        example = {"media": _noise(task, setup), "caption": "words"}
        sample = make_sample(task, example, limits, rng)
        if samples and tokens + len(sample) > most:
            break
        tokens += len(sample)
        samples.append(sample)
    words = 100 if setup.tiny else 256000

    def tokenize(captions) -> torch.Tensor:
        return torch.randint(2, words, (len(captions), TEXT_LENGTH))

    return collate(task, samples, list(range(len(samples))), tokenize).to(setup.device)


def _noise(task: str, setup: Setup) -> torch.Tensor:
    """Draws what a source gives: a picture (3, H, W), the seconds of a captioned clip, or a long clip of one frame."""
    side = 64 if setup.tiny else 1024
    picture = torch.randint(0, 256, (3, side, side), dtype=torch.uint8)
    if task.startswith("image"):
        return picture
    picture = picture[:, : side // 2, : side // 2]
    return picture.expand(SECONDS if task.endswith("understanding") else CLIP_FRAMES, *picture.shape)
