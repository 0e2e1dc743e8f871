"""A run seen from outside: numbers of the evaluation harness, and pictures beside their originals."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from atoken.evaluation.configuration import EvaluationConfig
from atoken.evaluation.opened_models import OpenedModels
from atoken.evaluation.reconstruction import round_trip
from atoken.evaluation.runner import evaluate
from atoken.processing.atomic_files_atoken import atomic_file

from ..trainer import Hook, Trainer

MODEL_NAME = "MODEL"  # stands for the folder of the exported weights in a validation file
PICTURES = 4  # samples of each set


class Validation(Hook):
    """
    Exports and measures the model every so often, and after the last step.

    Args:
        template: an evaluation configuration whose models lie at MODEL.
        every: steps between validations.
    """

    def __init__(self, template: Path, every: int):
        self.template, self.every = template, every

    def after_step(self, trainer: Trainer) -> None:
        """Measures in the first process, while the others wait."""
        step, settings, accelerator = trainer.progress.step, trainer.settings, trainer.accelerator
        if step % self.every and step != settings.steps:
            return
        trainer.export(settings.exported)
        if accelerator.is_main_process:
            output = settings.output / "validation" / f"{step:08d}"
            numbers, pictures = validate(self.template, settings.exported, output)
            accelerator.log({f"validation/{name}": value for name, value in numbers.items()}, step)
            for tracker in accelerator.trackers:
                if tracker.name == "tensorboard":
                    images = {name: np.asarray(Image.open(path))[None] for name, path in pictures.items()}
                    tracker.log_images(images, step=step, dataformats="NHWC")
            trainer.append_line("validation.jsonl", numbers)
        accelerator.wait_for_everyone()


def write_configuration(template: Path, model: Path, path: Path) -> EvaluationConfig:
    """
    Writes an evaluation configuration for one exported model to `path`.

    Raises:
        ValueError: the template has no model called MODEL, or does not fit the harness.
    """
    text = template.read_text(encoding="utf-8")
    if MODEL_NAME not in text:
        raise ValueError(f"template must have a model whose folder is written {MODEL_NAME}, got {template} without one")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as temporary:
        temporary.write_text(text.replace(MODEL_NAME, str(model)), encoding="utf-8")
    return EvaluationConfig.read(path)


def validate(template: Path, model: Path, output: Path) -> tuple[dict[str, float], dict[str, Path]]:
    """
    Measures an exported model and draws some of its reconstructions.

    Args:
        template: an evaluation configuration whose models lie at MODEL.
        model: folder of the exported weights.
        output: folder for the harness's report and the pictures.

    Returns:
        Numbers by "set/measure", and pictures by set: originals above, reconstructions below.
    """
    path = output / "configuration.yaml"
    config = write_configuration(template, model, path)
    models = OpenedModels()  # for both, so that each is loaded once
    results = evaluate(path, output, overwrite=True, models=models)
    numbers = {
        f"{result.set}/{name}": float(value)
        for result in results.results
        for name, value in _flat(result.numbers).items()
    }
    return numbers, draw_samples(config, models, output)


def _flat(numbers: dict[str, Any], prefix: str = "") -> dict[str, float]:
    """Takes the numbers out of nested dicts, with joined names."""
    flat: dict[str, float] = {}
    for name, value in numbers.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name} ")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            flat[prefix + name] = value
    return flat


@torch.inference_mode()
def draw_samples(config: EvaluationConfig, models: OpenedModels, output: Path) -> dict[str, Path]:
    """Draws the first samples of each set that is reconstructed: originals above, what comes back below."""
    written = {}
    for entry in config.tokenizers:
        tokenizer = models[entry]
        for one in config.sets:
            samples = one.open()
            if one.task != "reconstruction" or samples.kind not in tokenizer.kinds:
                continue
            columns = []
            for sample in samples.samples[:PICTURES]:
                original, result, _ = round_trip(tokenizer, sample.load(), samples.kind)
                middle = len(original) // 2
                columns.append(torch.cat([original[middle], result[middle]], dim=1))
            height = max(column.shape[1] for column in columns)
            columns = [torch.nn.functional.pad(c, (0, 4, 0, height - c.shape[1]), value=255) for c in columns]
            written[one.name] = output / f"{one.name.replace(' ', '-')}.png"
            with atomic_file(written[one.name]) as temporary:
                Image.fromarray(torch.cat(columns, dim=2).permute(1, 2, 0).numpy()).save(temporary)
    return written
