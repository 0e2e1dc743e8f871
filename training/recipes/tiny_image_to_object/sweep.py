"""What helps colors to agree with the picture: settings of the second stage, one changed at a time.

    python -m atoken.training.recipes.tiny_image_to_object.sweep OUT docs/image-to-object-sweep.png --minutes 20

OUT is what `run` has written. The paper kept all settings of 8 channels for its 48, and names weaker agreement of
colors as its open weakness (section 5.5). Settings of sampling are measured on the trained model, how times are drawn
on three short trainings that differ in nothing else. OUT/sweep.json and OUT/sweep.md hold all numbers; it goes on
where it was stopped.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from atoken.evaluation.metrics.object_measures import TrueObject, mean_of
from atoken.processing.atomic_files_atoken import atomic_file
from atoken.tokenizing.loading import LoadedModel, load_model
from atoken_headers.model_folders import CHECKPOINTS

from .corpora import open_rows
from .measuring import generated, open_pipeline, true_objects
from .parts import PARTS, STAGES, train
from .run import SAMPLING, TOKENIZER

OBJECTS = 24
# TRELLIS's released sampler; its strength is the guidance scale less 1.
BASE: dict[str, Any] = {
    "num_inference_steps": 25,
    "guidance_scale": 6.0,
    "guidance_interval": [0.5, 1.0],
    "shift": 3.0,
    "guidance_rescale": 0.0,
}
FACTORS: dict[str, list[Any]] = {
    "guidance_scale": [4.0, 6.0, 7.5],
    "guidance_interval": [[0.5, 1.0], [0.6, 1.0]],
    "shift": [3.0, 5.0],
    "guidance_rescale": [0.0, 0.7],
}
TIMES: dict[str, dict[str, Any]] = {
    "logit mean 1": {"logit_mean": 1.0},
    "logit mean 1.896": {"logit_mean": 1.896},  # 1 + ln sqrt(48 / 8)
    "uniform": {"times": "uniform"},
}
MEASURES = {"color": "color (gray levels)", "psnr": "PSNR (dB)"}


def sweep_cases() -> list[tuple[str, str, dict[str, Any]]]:
    """Lists factor, setting and the settings of sampling, one changed at a time; the base is of every factor."""
    return [
        (factor, json.dumps(value), {**BASE, factor: value}) for factor, values in FACTORS.items() for value in values
    ]


def table_of(found: dict[str, dict[str, dict[str, float]]]) -> str:
    """Writes the numbers as a table in Markdown."""
    lines = ["| factor | setting | color (gray levels) | PSNR (dB) |", "|---|---|---|---|"]
    for factor, settings in found.items():
        for setting, numbers in settings.items():
            lines.append(f"| {factor} | {setting} | {numbers['color']:.1f} | {numbers['psnr']:.2f} |")
    return "\n".join(lines) + "\n"


def plot(found: dict[str, dict[str, dict[str, float]]], path: Path) -> None:
    """Plots color error and PSNR over the settings of each factor, as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3 * len(found), 5.2), layout="constrained")
    axes = figure.subplots(2, len(found), sharey="row", squeeze=False)
    for column, (factor, settings) in enumerate(found.items()):
        for row, (name, label) in enumerate(MEASURES.items()):
            axis = axes[row][column]
            axis.plot(list(settings), [numbers[name] for numbers in settings.values()], marker="o")
            axis.grid(alpha=0.3)
            axis.tick_params(axis="x", labelsize=8)
            if row == 0:
                axis.set_title(factor)
            if column == 0:
                axis.set_ylabel(label)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=100, format="png")


def main(
    out: Annotated[Path, typer.Argument(help="Folder that run has written.")],
    picture: Annotated[Path, typer.Argument(help="The plot, a PNG.")],
    minutes: Annotated[float, typer.Option(help="Time for the steps of the three short trainings together.")] = 20.0,
    objects: Annotated[int, typer.Option(help="Held-out objects that are measured.")] = OBJECTS,
    seed: Annotated[int, typer.Option(help="Of the trainings.")] = 0,
) -> None:
    """Measures what is not measured yet."""
    tokenizer = load_model(str(CHECKPOINTS / TOKENIZER), "cpu", "float32")
    trues = true_objects(open_rows(out / "held_out/latents", tokenizer), "held_out", objects)
    parts = {part.name: out / "runs" / part.name / "model" for part in PARTS}
    parts["structure_vae"] = out / "structure_vae"  # with latents of unit size
    record = out / "sweep.json"
    found = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    # The base is measured once, though every factor has it.
    known: dict[str, dict[str, float]] = {}
    for factor, setting, sampling in sweep_cases():
        numbers = found.get(factor, {}).get(setting) or known.get(json.dumps(sampling))
        numbers = numbers or _measured(parts, tokenizer, trues, sampling)
        known[json.dumps(sampling)] = numbers
        found.setdefault(factor, {})[setting] = numbers
        _write(record, json.dumps(found, indent=1) + "\n")
    for setting, changes in TIMES.items():
        if setting not in found.get("times", {}):
            trained = _trained_with(changes, setting, out, minutes / len(TIMES), seed)
            numbers = _measured({**parts, "latent_transformer": trained}, tokenizer, trues, BASE)
            found.setdefault("times", {})[setting] = numbers
            _write(record, json.dumps(found, indent=1) + "\n")
    _write(out / "sweep.md", table_of(found))
    plot(found, picture)


def _measured(
    parts: dict[str, Path], tokenizer: LoadedModel, trues: list[TrueObject], sampling: dict[str, Any]
) -> dict[str, float]:
    """Measures held-out objects with other settings of the second stage; the first has the recipe's own."""
    pipeline = open_pipeline(parts, tokenizer, {**SAMPLING, "latent_sampling": sampling})
    return mean_of(generated(pipeline, trues)[0])


def _trained_with(changes: dict[str, Any], setting: str, out: Path, minutes: float, seed: int) -> Path:
    """Trains the second stage with changes to its settings, and gives the folder of the model."""
    part = PARTS[-1]
    values = yaml.safe_load((STAGES / f"{part.stage}.yaml").read_text(encoding="utf-8"))
    name = "sweep-" + setting.replace(" ", "-")
    path = out / f"{name}.yaml"
    _write(path, yaml.safe_dump({**values, **changes, "name": name}))
    return train(part, out, CHECKPOINTS / TOKENIZER, minutes, seed, path, name)


def _write(path: Path, text: str) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
