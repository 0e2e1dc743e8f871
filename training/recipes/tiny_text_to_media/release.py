"""The trained generator as a small checkpoint: a pipeline's folder in bf16, which shares its tokenizer's weights."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
import yaml

from atoken.generation import TextToMediaPipeline
from atoken.tokenizing.files import NewFolder

from .training import STAGES

CURVE_POINTS = 40
RECORD = "training.json"
NAME, TOKENIZER = "text-to-media-tiny", "atoken-tiny"


def release(pipeline: TextToMediaPipeline, out: Path) -> None:
    """
    Writes a pipeline that `from_pretrained` reads: transformer and text tower in bf16, and a link to the tokenizer.

    Args:
        pipeline: of `open_pipeline`; its transformer and text tower become bf16.
        out: folder that does not exist yet, to be put beside the tokenizer's.
    """
    pipeline.transformer.to(torch.bfloat16)
    pipeline.text_encoder.to(torch.bfloat16)
    with NewFolder(out) as new:
        pipeline.save_pretrained(new)
        config = new / "transformer/config.json"
        values = json.loads(config.read_text(encoding="utf-8"))
        values.pop("_name_or_path", None)  # where it lay when it was trained
        config.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
        shutil.rmtree(new / "vae")
        (new / "vae").symlink_to(Path("..") / TOKENIZER, target_is_directory=True)


def training_facts(run: Path, stage: str) -> dict[str, Any]:
    """
    Gives what a record says of one training.

    Args:
        run: its folder.
        stage: name of its file in stages/.
    """
    log = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    places = sorted({round(i * (len(log) - 1) / (CURVE_POINTS - 1)) for i in range(CURVE_POINTS)})
    last = log[-1]
    return {
        "steps": last["step"],
        "minutes": round(last["minutes"], 1),
        "epochs": {name.split()[0]: round(last[name], 1) for name in last if name.endswith(" epochs")},
        "stage": yaml.safe_load((STAGES / f"{stage}.yaml").read_text(encoding="utf-8")),
        "curve": [{"step": log[place]["step"], **_losses(log[place])} for place in places],
    }


def rounded(value: Any) -> Any:
    """Gives numbers of a record with four digits behind the point, of small ones with four digits."""
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    if isinstance(value, list):
        return [rounded(each) for each in value]
    if isinstance(value, float):
        return round(value, 4) if abs(value) >= 0.01 else float(f"{value:.4g}")
    return value


def _losses(line: dict[str, float]) -> dict[str, float]:
    begin = "generation/"
    return {name.removeprefix(begin): round(value, 4) for name, value in line.items() if name.startswith(begin)}
