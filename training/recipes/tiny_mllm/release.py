"""A trained model as a small checkpoint: weights in bf16 with record and card."""

import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
import yaml

from atoken.mllm import AtokenLlavaForConditionalGeneration, AtokenLlavaProcessor
from atoken.tokenizing.files import NewFolder

from ..text_files import write_text
from .card import card_of
from .contact_sheet import draw_answers
from .curves import plot
from .features import DrawnFeatures
from .measuring import measure_all
from .parts import TOWER
from .probes import probe_shares
from .settings_compared import compare_settings
from .training import PARTS, STAGES

NAME = "atoken-tiny-llava"
RECORD = "training.json"
CONTROL = "untrained-tower"
PROTOCOL = (
    "Scenes of 64 x 64 pixels and clips of 8 frames whose pair of color and shape training never shows, asked through "
    "the code that the plugin of lmms-eval answers with, greedily; an answer is right if it is the same text after "
    "strip and lower case. Blind: the same questions about plain gray. Weights rounded to bf16, run in fp32"
)


def release(trained: Path, out: Path) -> None:
    """Writes the weights in bf16 and the processor to a folder that does not exist yet."""
    model = AtokenLlavaForConditionalGeneration.from_pretrained(trained, dtype=torch.bfloat16)
    processor = AtokenLlavaProcessor.from_pretrained(trained)
    model.config.vision_config.name_or_path = ""  # where it lay when it was trained
    with NewFolder(out) as new:
        model.save_pretrained(new)
        processor.save_pretrained(new)


def conclude(
    trained: Path,
    out: Path,
    counts: Mapping[str, int],
    control_counts: Mapping[str, int],
    questions: int,
    command: str,
) -> None:
    """
    Releases a trained model, measures what is released, and writes its record, card and pictures, unless that is done.

    Args:
        trained: folder of the model with its processor.
        out: folder of the recipe's run, with the trainings of both models.
        counts, control_counts: kind of subject -> how many, of the model and of the one with an untrained encoder.
        questions: held-out questions of each kind.
        command: that has made all of it.
    """
    released = out / "released" / NAME
    if not released.is_dir():
        release(trained, released)
    if (released / RECORD).is_file():
        return
    measured = _once(out / "measured.json", lambda: _measure(released, questions))
    settings = _once(out / "settings.json", lambda: compare_settings(trained, out / "settings", questions // 4))
    control = _once(out / "control.json", lambda: _measure_control(out / CONTROL, questions // 2))
    record = {
        "command": command,
        "tower": TOWER,
        "weights": measured["weights"],
        "conversations": {
            part.name: {kind: counts[kind] * part.visits[kind] for kind in part.visits} for part in PARTS
        },
        "stages": {part.name: stage_record(part.name, out / part.name) for part in PARTS},
        "machine": f"a part of two cores of {platform.machine()}, one thread",
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "protocol": PROTOCOL,
        "measures": measured["measures"],
        "probes": measured["probes"],
        "settings": settings,
        "untrained_tower": {
            "conversations": control_counts,
            "stages": {part.name: stage_record(part.name, out / CONTROL / part.name) for part in PARTS},
            **control,
        },
    }
    record = _rounded(record)
    plot(record, out / "curves.png")
    model = AtokenLlavaForConditionalGeneration.from_pretrained(released, dtype=torch.float32).eval()
    draw_answers(model, AtokenLlavaProcessor.from_pretrained(released), out / "answers.png")
    write_text(released / "README.md", card_of(record))
    write_text(released / RECORD, json.dumps(record, indent=1) + "\n")


def stage_record(name: str, folder: Path) -> dict[str, Any]:
    """Tells of a stage's training: settings, steps, minutes and curve."""
    curve = [json.loads(line) for line in (folder / "curve.jsonl").read_text(encoding="utf-8").splitlines()]
    settings = yaml.safe_load((STAGES / f"{name}.yaml").read_text(encoding="utf-8"))
    return {
        "steps": curve[-1]["step"],
        "minutes": curve[-1]["minutes"],
        "batch": settings["global_batch"],
        "learning_rate": settings["learning_rate"],
        "curve": curve,
    }


def _measure(released: Path, questions: int) -> dict[str, Any]:
    model = AtokenLlavaForConditionalGeneration.from_pretrained(released, dtype=torch.float32).eval()
    processor = AtokenLlavaProcessor.from_pretrained(released)
    features = DrawnFeatures(released.parent.parent / "features")
    return {
        "weights": sum(parameter.numel() for parameter in model.parameters()),
        "measures": measure_all(model, processor, questions),
        "probes": probe_shares(features, model, processor, questions),
    }


def _measure_control(folder: Path, questions: int) -> dict[str, Any]:
    trained = folder / PARTS[-1].name / "model"
    model = AtokenLlavaForConditionalGeneration.from_pretrained(trained).eval()
    processor = AtokenLlavaProcessor.from_pretrained(trained)
    return {"measures": measure_all(model, processor, questions, controls=False)}


def _once(path: Path, make: Any) -> Any:
    """Reads what was made in an earlier run, or makes it."""
    if not path.is_file():
        write_text(path, json.dumps(make(), indent=1) + "\n")
    return json.loads(path.read_text(encoding="utf-8"))


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return round(value, 4) if isinstance(value, float) else value
