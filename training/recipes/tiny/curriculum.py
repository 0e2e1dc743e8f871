"""atoken-tiny through the whole curriculum on a laptop: start, teacher, four stages, and what each stage can do.

    python -m atoken.training.recipes.tiny.curriculum DATA OUT

DATA is what collect_media, collect_meshes, prepare_objects and prepare_miniature have written. Every stage is a run of
`atoken.training.tokenizer.train`, which goes on where it was stopped, so this can be stopped and started again at any
time. OUT/record.json and record.md have the evaluation harness's numbers stage by stage, and OUT/stage-N/released what
becomes a checkpoint: of stage 3 atoken-tiny, of stage 4 atoken-tiny-d.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import torch
import typer
import yaml

from atoken import AtokenModel
from atoken.gaussian_conversion_atoken import attach_gaussian_decoder
from atoken.processing import AtokenProcessor
from atoken.processing.atomic_files_atoken import atomic_file

from ...data.batches import TrainingBatch
from ...data.tasks import open_tasks, read_data
from ...frozen_rows import FILE as PROTECTED
from ...frozen_rows import ProtectedRows
from ...tokenizer.curriculum import Stage, grow_latents
from ...tokenizer.validation import validate
from .fsq_allocation import measure, plan
from .fsq_blocks import add_blocks, moved_name
from .pca_start import spare_channels
from .release import record_of, release, tables_of

HERE = Path(__file__).parent
STAGES = (0, 1, 2, 3, 4)
RELEASED = "released"  # folder of a stage's checkpoint in bf16 with its record
EVALUATION = HERE / "sources/tiny-evaluation.yaml"
SEEN = 4  # batches of each task that latents are measured by


def run_stage(
    stage_file: Path,
    start: Path,
    data_file: Path,
    out: Path,
    teacher: Path | None,
    options: list[str],
    processes: int = 1,
) -> None:
    """Trains one stage in one or more processes of its own, on the CPU if they are several."""
    environment = dict(os.environ)
    command = [sys.executable]
    if processes > 1:
        command += ["-m", "torch.distributed.run", "--nproc_per_node", str(processes)]
        environment["ACCELERATE_USE_CPU"] = "true"
    command += ["-m", "atoken.training.tokenizer.train", str(stage_file)]
    command += ["--data", str(data_file), "--init-from", str(start), "--output", str(out)]
    if teacher is not None:
        command += ["--teacher", str(teacher)]
    subprocess.run([*command, *options], check=True, env=environment)


def widen(model_folder: Path, template: Path, out: Path) -> None:
    """Writes stage 1's model with the latents of the wide start, as stage 2 begins."""
    model = AtokenModel.from_pretrained(model_folder, dtype=torch.float32)
    wide = AtokenModel.from_pretrained(template, dtype=torch.float32)
    grow_latents(model, wide.config.latent_channels, template=wide)
    _write(model, model_folder, out)


def with_gaussians(model_folder: Path, gaussians: Path, out: Path) -> None:
    """Writes stage 2's model with a Gaussian decoder of `train_gaussians`, trained on decoded voxels, for stage 3."""
    model = AtokenModel.from_pretrained(model_folder, dtype=torch.float32)
    attach_gaussian_decoder(model, AtokenModel.from_pretrained(gaussians, dtype=torch.float32).gaussian_decoder)
    _write(model, model_folder, out)


def with_codes(model_folder: Path, stage: Stage, data_file: Path, out: Path, seed: int) -> None:
    """Writes stage 3's model with codes, which blocks on either side spread over its latents, for stage 4."""
    torch.manual_seed(seed)
    model = AtokenModel.from_pretrained(model_folder, dtype=torch.float32).eval()
    # The first latent tells images from videos, see `indicator_first`.
    batches = reconstruction_batches(stage, data_file, seed)
    coding = plan(*measure(model, batches), stage.latent_channels, switches=(0,))
    recorded = ProtectedRows.load(str(model_folder)).rows
    discrete, rows = add_blocks(model, coding, spare_channels(recorded))
    _write(discrete, model_folder, out)
    kept = {moved_name(name): indices for name, indices in recorded.items()}
    parameters = dict(discrete.named_parameters())
    ProtectedRows.of(discrete, [(parameters[name], indices) for name, indices in kept.items()] + rows).save(out)


def _write(model: AtokenModel, source: Path, out: Path) -> None:
    model.save_pretrained(out)
    AtokenProcessor.from_pretrained(source).save_pretrained(out)
    shutil.copy(source / PROTECTED, out / PROTECTED)


def _write_text(path: Path, text: str) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def localized(path: Path, data: Path, out: Path) -> Path:
    """Writes a copy of a YAML file in which the folder `data/` is DATA."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(path.read_text(encoding="utf-8").replace("data/", f"{data}/"), encoding="utf-8")
    return out


def evaluation_for(stage: int, template: Path, out: Path) -> Path:
    """Writes the harness's file for a stage: without objects, which take longest to embed, before they are trained."""
    values = yaml.safe_load(template.read_text(encoding="utf-8"))
    if stage < 3:
        values["tokenizers"].pop("objects")
        values["sets"] = {name: entry for name, entry in values["sets"].items() if not name.startswith("object")}
    out.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return out


def start_of(stage: int, run: Path, data_file: Path, gaussians: Path, seed: int) -> Path:
    """Gives the folder of the model that a stage begins with, made of the stage before where something comes in."""
    base, before = run / "start", run / f"stage-{stage - 1}/model"
    if stage == 0:
        return base / "start"
    if stage == 1:
        # From here on training may change what the first latents are made of.
        shutil.copy(base / "narrow" / PROTECTED, before / PROTECTED)
        return before
    start = run / f"stage-{stage}/start"
    if stage == 2:
        widen(before, base / "wide", start)
        shutil.copy(base / PROTECTED, start / PROTECTED)
    elif stage == 3:
        with_gaussians(before, gaussians, start)
    else:
        with_codes(before, Stage.read(stage_file_of(stage)), data_file, start, seed)
    return start


def stage_file_of(stage: int) -> Path:
    """Gives the file of a stage."""
    return HERE / f"stages/tiny-{stage}.yaml"


def reconstruction_batches(stage: Stage, data_file: Path, seed: int) -> list[TrainingBatch]:
    """Draws a few batches of every task of reconstruction."""
    tasks = [task for task in stage.ratios if task.endswith("reconstruction")]
    opened = open_tasks(tasks, read_data(data_file), stage.batch_sizes, stage.limits, None, 0, seed, 0, 1, threads=1)
    batches = [next(opened[task]) for task in tasks for _ in range(SEEN)]
    for each in opened.values():
        each.close()
    return batches


def measure_stage(stage: int, run: Path, data_file: Path, template: Path, seed: int) -> dict[str, float]:
    """Writes RUN/stage-N/released and what the harness finds of it."""
    folder = run / f"stage-{stage}"
    batches = reconstruction_batches(Stage.read(stage_file_of(stage)), data_file, seed)
    release(folder / "model", batches, folder / RELEASED)
    file = evaluation_for(stage, template, folder / "evaluation.yaml")
    numbers, _ = validate(file, folder / RELEASED, folder / "evaluation")
    return numbers


def main(
    data: Annotated[Path, typer.Argument(help="Folder with photos, clips and objects.")],
    out: Annotated[Path, typer.Argument(help="Folder for all stages.")],
    gaussians: Annotated[Path, typer.Option(help="Checkpoint whose Gaussian decoder stage 3 begins with.")] = Path(
        "checkpoints/atoken-tiny"
    ),
    last: Annotated[int, typer.Option(help="The last stage to run.")] = 4,
    processes: Annotated[int, typer.Option(help="That share every step.")] = 1,
    evaluate: Annotated[bool, typer.Option(help="Measure every stage but the teacher's.")] = True,
    seed: Annotated[int, typer.Option()] = 0,
) -> None:
    """Runs what is not done yet."""
    sources = localized(HERE / "sources/tiny.yaml", data, out / "sources.yaml")
    template = localized(EVALUATION, data, out / "evaluation.yaml")
    base = out / "start"
    if not (base / PROTECTED).is_file():
        start = [sys.executable, "-m", "atoken.training.recipes.tiny.start", str(data), str(base), "--seed", str(seed)]
        subprocess.run(start, check=True)
    record_file = out / "record.json"
    for stage in STAGES[: last + 1]:
        folder = out / f"stage-{stage}"
        if not (folder / "finished").is_file():
            start = start_of(stage, out, sources, gaussians, seed)
            teacher = None if stage == 0 else out / "stage-0/model"
            options = ["--seed", str(seed), "--save-every", "200"]
            run_stage(stage_file_of(stage), start, sources, folder, teacher, options, processes)
            (folder / "finished").touch()
        record = json.loads(record_file.read_text(encoding="utf-8")) if record_file.is_file() else {}
        if evaluate and stage > 0 and str(stage) not in record:
            record[str(stage)] = measure_stage(stage, out, sources, template, seed)
            _write_text(record_file, json.dumps(record, indent=1) + "\n")
            _write_text(out / "record.md", tables_of(record))
            text = json.dumps(record_of(record, out, stage, {str(data): "DATA", str(out): "OUT"}), indent=1)
            _write_text(folder / RELEASED / "training.json", text + "\n")


if __name__ == "__main__":
    typer.run(main)
