"""A trained generator as a small checkpoint: a pipeline's folder with weights in bf16, which shares its tokenizer's."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import safe_open

from atoken.tokenizing.files import NewFolder

from .subjects import Subject

CURVE_POINTS = 60
RECORD = "training.json"


def release(subject: Subject, transformer: Path, tokenizer: Path, out: Path) -> None:
    """
    Writes a pipeline that `from_pretrained` reads: the generator in bf16, its scheduler, and a link to the tokenizer.

    Args:
        transformer: folder of the trained generator.
        tokenizer: folder of the tokenizer, to which out/vae becomes a link as to a neighbor of `out`.
        out: folder that does not exist yet.
    """
    pipeline = subject.open(transformer, tokenizer)
    pipeline.transformer.to(torch.bfloat16)
    with NewFolder(out) as new:
        pipeline.save_pretrained(new)
        config = new / "transformer/config.json"
        values = json.loads(config.read_text(encoding="utf-8"))
        values.pop("_name_or_path", None)  # where it lay when it was trained
        config.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
        shutil.rmtree(new / "vae")
        # A pipeline's folder holds all of its parts; the tokenizer's weights are a checkpoint of their own already.
        (new / "vae").symlink_to(Path("..") / subject.tokenizer, target_is_directory=True)


def record_of(
    subject: Subject, run: Path, released: Path, measured: dict[str, Any], facts: dict[str, Any]
) -> dict[str, Any]:
    """
    Makes the record of a generator: how it was trained and what it can do.

    Args:
        run: folder of its training.
        released: its folder, of `release`.
        measured: of `measure`.
        facts: what else is to be said.
    """
    log = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    places = sorted({round(i * (len(log) - 1) / (CURVE_POINTS - 1)) for i in range(CURVE_POINTS)})
    stage = yaml.safe_load(subject.stage_file.read_text(encoding="utf-8"))
    with safe_open(released / "transformer/diffusion_pytorch_model.safetensors", framework="pt") as file:
        weights = sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())
    return {
        **facts,
        "tokenizer": subject.tokenizer,
        "weights": weights,
        "steps": log[-1]["step"],
        "minutes": round(log[-1]["minutes"], 1),
        "batch_size": stage["batch_size"],
        "epochs": round(log[-1]["epochs"], 1),
        "skipped_steps": log[-1]["skipped steps"],
        "stage": stage,
        "torch": torch.__version__,
        **_rounded(measured),
        "curve": [
            {"step": log[place]["step"], "minutes": round(log[place]["minutes"], 1), **_losses(log[place])}
            for place in places
        ],
    }


def _losses(line: dict[str, float]) -> dict[str, float]:
    begin = "generation/"
    return {name.removeprefix(begin): round(value, 4) for name, value in line.items() if name.startswith(begin)}


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return round(value, 4) if isinstance(value, float) else value
