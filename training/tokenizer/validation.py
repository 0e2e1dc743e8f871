"""A run seen from outside: numbers of the evaluation harness, and pictures beside their originals.

    python -m atoken.training.tokenizer.validation TEMPLATE RUN --follow

It is a job of its own, on a device of its own, so that no training waits for it. A training with --export-every writes
RUN/exports/STEP, which this measures.
"""

import json
import shutil
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from PIL import Image

from atoken.evaluation.configuration import EvaluationConfig
from atoken.evaluation.opened_models import OpenedModels
from atoken.evaluation.reconstruction import round_trip
from atoken.evaluation.runner import evaluate
from atoken.processing.atomic_files_atoken import atomic_file

from ..trainer import Hook, Trainer

MODEL_NAME = "MODEL"  # stands for the folder of the exported weights in a validation file
PICTURES = 4  # samples of each set
PAUSE = 30  # seconds between two looks for exports


EXPORTS = "exports"


class Exports(Hook):
    """
    Exports the averaged weights every so often, and after the last step, for whoever measures them.

    Args:
        every: steps between exports.
    """

    def __init__(self, every: int):
        self.every = every

    def after_step(self, trainer: Trainer) -> None:
        """Writes RUN/exports/STEP."""
        step = trainer.progress.step
        if step % self.every == 0 or step == trainer.settings.steps:
            trainer.export(trainer.settings.output / EXPORTS / f"{step:08d}")


def validate_exports(template: Path, run: Path, tensorboard: bool = False, remove: bool = False) -> list[int]:
    """
    Measures the exports of a run that have not been measured yet, the oldest first.

    Numbers go into RUN/validation.jsonl, reports and pictures into RUN/validation/STEP.

    Args:
        template: an evaluation configuration whose models lie at MODEL.
        run: output folder of the run, which may go on meanwhile.
        tensorboard: whether to show numbers and pictures there, too.
        remove: whether to remove an export once it is measured.

    Returns:
        Their steps.
    """
    log, measured = run / "validation.jsonl", []
    known = {json.loads(line)["step"] for line in log.read_text(encoding="utf-8").splitlines()} if log.is_file() else ()
    for folder in sorted((run / EXPORTS).glob("[0-9]*")):
        step = int(folder.name)
        if step in known:
            continue
        numbers, pictures = validate(template, folder, run / "validation" / folder.name)
        with log.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **numbers}) + "\n")
        if tensorboard:
            _show(run, step, numbers, pictures)
        if remove:
            shutil.rmtree(folder)
        measured.append(step)
    return measured


def _show(run: Path, step: int, numbers: dict[str, float], pictures: dict[str, Path]) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(run / "validation")) as writer:
        for name, value in numbers.items():
            writer.add_scalar(f"validation/{name}", value, step)
        for name, path in pictures.items():
            writer.add_image(name, np.asarray(Image.open(path)), step, dataformats="HWC")


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


def main(
    template: Annotated[Path, typer.Argument(help="Configuration of atoken evaluate that names its model MODEL.")],
    run: Annotated[Path, typer.Argument(help="Output folder of a training with --export-every.")],
    follow: Annotated[
        bool, typer.Option(help="Wait for further exports, until the run's final model is there.")
    ] = False,
    tensorboard: Annotated[bool, typer.Option(help="Show numbers and pictures in TensorBoard.")] = False,
    remove: Annotated[bool, typer.Option(help="Remove an export once it is measured.")] = False,
) -> None:
    """Measures what has not been measured yet."""
    while True:
        is_over = (run / "model").is_dir()  # asked first: whatever is exported before it is measured below
        for step in validate_exports(template, run, tensorboard, remove):
            print(f"step {step} is measured", flush=True)
        if is_over or not follow:
            return
        time.sleep(PAUSE)


if __name__ == "__main__":
    typer.run(main)
