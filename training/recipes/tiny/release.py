"""Releases of the tiny curriculum: a stage as a small checkpoint with its record.

The harness measures the weights as they are released, in bf16, at every stage, so that the record says what users get.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from atoken import AtokenModel
from atoken.processing import AtokenProcessor

from ...data.batches import TrainingBatch
from ...frozen_rows import ProtectedRows
from ...tokenizer.curriculum import Stage

# The record keeps these of the harness's numbers, by the ends of their names, and its names for sets of reconstruction.
MEASURES = (
    "psnr",
    "ssim",
    "st_lpips_vgg",
    "st_lpips_alex",
    "fd_lite0 total",
    "top1",
    "chance",
    "_r1",
    "chance_at_1",
    "count",
    "usage",
    "perplexity",
    "bits_per_pixel",
)
SETS = {
    "photos 256": "photos_256",
    "photos 512": "photos_512",
    "clips": "clips_16x256",
    "objects": "objects",
    "test photos 256": "test_photos_256",
    "test clips": "test_clips_16x256",
    "test objects": "test_objects",
}
CURVE_POINTS = 40  # of each stage
# Tables of the record, as the paper has them: heading -> column -> set, and measures that a slash joins.
TABLES = {
    "Reconstruction, PSNR (dB) / SSIM": {
        "photos, 256 px": ("photos 256", ("psnr", "ssim")),
        "photos, 512 px": ("photos 512", ("psnr", "ssim")),
        "clips": ("clips", ("psnr", "ssim")),
        "objects": ("objects", ("psnr", "ssim")),
        "test photos, 256 px": ("test photos 256", ("psnr", "ssim")),
        "test clips": ("test clips", ("psnr", "ssim")),
        "test objects": ("test objects", ("psnr", "ssim")),
    },
    "Photos at 256 px to a network: ST-LPIPS (VGG) / ST-LPIPS (AlexNet) / FD (EfficientNet-lite0)": {
        "photos": ("photos 256", ("st_lpips_vgg", "st_lpips_alex", "fd_lite0 total")),
        "test photos": ("test photos 256", ("st_lpips_vgg", "st_lpips_alex", "fd_lite0 total")),
    },
    "Zero-shot accuracy, %": {
        **{f"image {what}": (f"image {what}", ("top1",)) for what in ("shape", "colour", "pair")},
        **{f"video {what}": (f"video {what}", ("top1",)) for what in ("motion", "shape")},
        **{f"object {what}": (f"object {what}", ("top1",)) for what in ("shape", "colour", "pair")},
    },
    "Retrieval, R@1 from text / to text, %": {
        f"{kind}s": (f"{kind} retrieval", ("text_to_sample_r1", "sample_to_text_r1"))
        for kind in ("image", "video", "object")
    },
}
CHANCE = ("chance", "chance_at_1")
PROTOCOL = (
    "evaluation harness, training/recipes/tiny/sources/tiny-evaluation.yaml, on media held out of training. Photos:"
    " short side resized (bicubic, antialias), centre crop; clips: 16 frames every 60, short side 256, one MSE per "
    "clip; objects: rendered views on black; 8-bit values, PSNR and SSIM per item, averaged. Zero-shot: "
    "combinations of colour and shape, or of motion and shape, that training never shows. Weights rounded to bf16, "
    "run in fp32"
)


@torch.no_grad()
def release(model_folder: Path, batches: list[TrainingBatch] | None, out: Path) -> None:
    """
    Writes a stage's model in bf16, with its processor and the statistics of its latents.

    Args:
        batches: whose latents are measured, those of every task counting alike; None for latents that training has not
            changed, whose statistics the model has already.
    """
    model = AtokenModel.from_pretrained(model_folder, dtype=torch.float32).eval()
    if batches is not None:
        _measure_latents(model, batches)
    model.to(torch.bfloat16).save_pretrained(out)
    AtokenProcessor.from_pretrained(model_folder).save_pretrained(out)
    # Who goes on from these weights has to know what was written by hand.
    ProtectedRows.load(str(model_folder)).save(out)


def _measure_latents(model: AtokenModel, batches: list[TrainingBatch]) -> None:
    by_task: dict[str, list[torch.Tensor]] = {}
    for batch in batches:
        latents = model.encode(batch.pixel_values, batch.coords, batch.cu_seqlens, pool=False).latents
        by_task.setdefault(batch.task, []).append(latents)
    moments = [(torch.cat(parts).mean(0), torch.cat(parts).square().mean(0)) for parts in by_task.values()]
    mean, square = (torch.stack(parts).mean(0) for parts in zip(*moments, strict=True))
    model.config.latents_mean = [round(value, 5) for value in mean.tolist()]
    model.config.latents_std = [round(value, 5) for value in (square - mean.square()).sqrt().tolist()]


def command_of(module: str, places: dict[str, str]) -> str:
    """Says with which command a module of the recipe runs, with other names in place of its folders."""
    return " ".join([f"python -m atoken.training.recipes.tiny.{module}", *(places.get(a, a) for a in sys.argv[1:])])


def record_of(
    numbers: dict[str, dict[str, float]],
    run: Path,
    stage: int,
    places: dict[str, str],
    stage_file_of: Callable[[int], Path],
    before: Path | None = None,
    module: str = "curriculum",
) -> dict[str, Any]:
    """
    Makes the record of a released stage.

    Args:
        numbers: stage -> "set/measure" -> number, as `validate` gives them.
        run: folder of the curriculum.
        stage: the one that is released.
        places: of the command's arguments, path -> what the record writes instead.
        stage_file_of: number of a stage -> its file.
        before: the checkpoint that the run went on from, whose record becomes a part of this one.
        module: of the recipe, that the command runs.
    """
    kept = {
        number: {name: round(value, 5) for name, value in found.items() if name.endswith(MEASURES)}
        for number, found in numbers.items()
        if int(number) <= stage
    }
    held_out = {
        label: {name: kept[str(stage)][f"{of}/{name}"] for name in ("psnr", "ssim", "count")}
        for of, label in SETS.items()
        if f"{of}/psnr" in kept[str(stage)]
    }
    stages = sorted(int(number) for number in kept)
    logs = {number: _log(run, number) for number in stages}
    return {
        "command": command_of(module, places),
        "data": "training/recipes/tiny/sources/tiny.yaml; media.json and meshes.json list the files of split 'train'",
        "steps": {str(number): log[-1]["step"] for number, log in logs.items()},
        "minutes": {str(number): round(log[-1]["minutes"], 1) for number, log in logs.items()},
        "batches": {str(number): _batches(Stage.read(stage_file_of(number))) for number in stages},
        "torch": torch.__version__,
        "protocol": PROTOCOL,
        "held_out": held_out,
        "stages": kept,
        "curve": {str(number): _curve(log) for number, log in logs.items()},
        **({} if before is None else {"before": json.loads((before / "training.json").read_text(encoding="utf-8"))}),
    }


def _batches(stage: Stage) -> dict[str, Any]:
    return {"ratios": stage.ratios, "batch_sizes": stage.batch_sizes, "step_tokens": stage.step_tokens}


def tables_of(numbers: dict[str, dict[str, float]]) -> str:
    """Writes all stages' numbers as Markdown, with chance where there is such a thing; what a stage lacks is empty."""
    blocks = []
    for heading, every in TABLES.items():
        columns = {name: cell for name, cell in every.items() if any(_cell(found, *cell) for found in numbers.values())}
        if not columns:
            continue
        lines = [f"**{heading}**", "", "| stage | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
        for stage in sorted(numbers, key=int):
            cells = [_cell(numbers[stage], of, measures) for of, measures in columns.values()]
            lines.append(f"| {stage} | " + " | ".join(cells) + " |")
        last = numbers[max(numbers, key=int)]
        chances = [_cell(last, of, CHANCE) for of, _ in columns.values()]
        if any(chances):
            lines.append("| chance | " + " | ".join(chances) + " |")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def _cell(found: dict[str, float], of: str, measures: tuple[str, ...]) -> str:
    values = [(name, found[f"{of}/{name}"]) for name in measures if f"{of}/{name}" in found]
    shown = {"psnr": "{:.2f}", "ssim": "{:.3f}", "st_lpips_vgg": "{:.3f}", "st_lpips_alex": "{:.3f}"}
    shown["fd_lite0 total"] = "{:.1f}"
    return " / ".join(shown[name].format(value) if name in shown else f"{100 * value:.1f}" for name, value in values)


def _log(run: Path, stage: int) -> list[dict[str, float]]:
    lines = (run / f"stage-{stage}/log.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def _curve(log: list[dict[str, float]]) -> list[dict[str, float]]:
    """Picks every task's loss at some of the steps."""
    places = sorted({round(i * (len(log) - 1) / (CURVE_POINTS - 1)) for i in range(CURVE_POINTS)})
    return [
        {
            name.removesuffix("/loss"): round(value, 4)
            for name, value in log[place].items()
            if name == "step" or name.endswith("/loss")
        }
        for place in places
    ]
