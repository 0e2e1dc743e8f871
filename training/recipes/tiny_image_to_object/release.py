"""The trained generator as a small checkpoint: a pipeline's folder in bf16, with a link to its tokenizer."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import safe_open

from atoken.generation import ImageToObjectPipeline
from atoken.tokenizing.files import NewFolder

from .parts import PARTS, STAGES, TRAININGS, Part

NAME, RECORD = "image-to-object-tiny", "training.json"
CURVE_POINTS = 40
_WEIGHTS = "diffusion_pytorch_model.safetensors"


def release(pipeline: ImageToObjectPipeline, tokenizer: str, out: Path) -> None:
    """
    Writes a pipeline that `from_pretrained` reads: three models in bf16, a scheduler, and a link to the tokenizer.

    Args:
        pipeline: of trained parts, which change to bf16.
        tokenizer: name of the tokenizer's folder, to which out/vae becomes a link as to a neighbor of `out`.
        out: folder that does not exist yet.
    """
    for part in PARTS:
        getattr(pipeline, part.name).to(torch.bfloat16)
    with NewFolder(out) as new:
        pipeline.save_pretrained(new)
        for part in PARTS:
            config = new / part.name / "config.json"
            values = json.loads(config.read_text(encoding="utf-8"))
            values.pop("_name_or_path", None)  # where it lay when it was trained
            config.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
        shutil.rmtree(new / "vae")
        # A pipeline's folder holds all of its parts; the tokenizer's weights are a checkpoint of their own already.
        (new / "vae").symlink_to(Path("..") / tokenizer, target_is_directory=True)


def record_of(out: Path, released: Path, measured: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
    """
    Makes the record: how the parts were trained and what they can do.

    Args:
        out: folder of the recipe.
        released: folder of `release`.
        measured: the means of the generated objects and of what they are compared with.
        facts: what else is to be said.
    """
    return {
        **facts,
        "torch": torch.__version__,
        "measured": _rounded(measured),
        "trainings": {part.name: _training_of(part, out, released) for part in TRAININGS},
    }


def _training_of(part: Part, out: Path, released: Path) -> dict[str, Any]:
    lines = (out / "runs" / part.name / "log.jsonl").read_text(encoding="utf-8").splitlines()
    log = [json.loads(line) for line in lines]
    places = sorted({round(i * (len(log) - 1) / (CURVE_POINTS - 1)) for i in range(CURVE_POINTS)})
    folder = released / next(each.name for each in PARTS if part.name in (each.name, each.begins_with))
    with safe_open(folder / _WEIGHTS, framework="pt") as file:
        weights = sum(math.prod(file.get_slice(key).get_shape()) for key in file.keys())
    return {
        "weights": weights,
        "steps": log[-1]["step"],
        "minutes": round(log[-1]["minutes"], 1),
        "epochs": round(log[-1]["epochs"], 1),
        "skipped_steps": log[-1]["skipped steps"],
        "stage": yaml.safe_load((STAGES / f"{part.stage}.yaml").read_text(encoding="utf-8")),
        "curve": [{"step": log[place]["step"], **_losses(log[place])} for place in places],
    }


def _losses(line: dict[str, float]) -> dict[str, float]:
    begin = "generation/"
    return {name.removeprefix(begin): round(value, 4) for name, value in line.items() if name.startswith(begin)}


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    return round(value, 4) if isinstance(value, float) else value
