"""atoken-tiny through the whole curriculum on a laptop: start, teacher, four stages, and what each stage can do.

    python -m atoken.training.recipes.tiny.curriculum DATA OUT

DATA is what `make data` has written. Nothing else is needed: the start is PCA, the teacher and the Gaussian decoder are
trained on the way. Every stage is a run of `atoken.training.tokenizer.train`, which goes on where it was stopped, so
this can be stopped and started again at any time. OUT/record.json and record.md have the evaluation harness's numbers
stage by stage, and OUT/stage-N/released what becomes a checkpoint: of stage 3 atoken-tiny, of stage 4 atoken-tiny-d.

With --continue-from CHECKPOINT, stage 3 begins with released weights and the stages before are left out. The teacher is
CHECKPOINT itself, or another model of this recipe that --teacher names.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
import yaml

from ...data.batches import TrainingBatch
from ...data.tasks import open_tasks, read_data
from ...tokenizer.curriculum import Stage
from ...tokenizer.validation import validate
from ..text_files import write_text
from .between_stages import continued, copy_rows, widen, with_codes, with_gaussians
from .release import record_of, release, tables_of
from .sizes import SIZES
from .start import DONE

HERE = Path(__file__).parent
STAGES = (0, 1, 2, 3, 4)
CONTINUED = 3  # the first stage where released weights go on
RELEASED = "released"  # folder of a stage's checkpoint in bf16 with its record
EVALUATION, PERCEPTION = HERE / "sources/tiny-evaluation.yaml", HERE / "sources/tiny-perception.yaml"
SEEN = 4  # batches of each task that latents are measured by
GAUSSIAN_MINUTES = 20.0  # of the Gaussian decoder, before stage 3
# Where a run has a number of minutes: the share of each stage, and of the Gaussian decoder.
SHARES = {0: 0.06, 1: 0.14, 2: 0.30, "gaussians": 0.12, 3: 0.23, 4: 0.15}
CONTINUED_SHARES = {3: 0.45, 4: 0.55}


def run_stage(
    stage_file: Path,
    start: Path,
    data_file: Path,
    out: Path,
    teacher: Path | None,
    options: list[str],
    processes: int = 1,
    device: str = "cpu",
) -> None:
    """Trains one stage in one or more processes of its own."""
    environment = dict(os.environ)
    command = [sys.executable]
    if processes > 1:
        command += ["-m", "torch.distributed.run", "--nproc_per_node", str(processes)]
    if device == "cpu":
        environment["ACCELERATE_USE_CPU"] = "true"
    command += ["-m", "atoken.training.tokenizer.train", str(stage_file)]
    command += ["--data", str(data_file), "--init-from", str(start), "--output", str(out)]
    if teacher is not None:
        command += ["--teacher", str(teacher)]
    subprocess.run([*command, *options], check=True, env=environment)


def localized(path: Path, data: Path, out: Path) -> Path:
    """Writes a copy of a YAML file in which the folder `data/` is DATA."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(path.read_text(encoding="utf-8").replace("data/", f"{data}/"), encoding="utf-8")
    return out


def evaluation_for(stage: int, template: Path, out: Path) -> Path:
    """Writes the harness's file for a stage: without objects, which take longest to embed, before they are trained."""
    values = yaml.safe_load(template.read_text(encoding="utf-8"))
    if stage < 3:
        values["tokenizers"].pop("objects", None)
        values["sets"] = {name: entry for name, entry in values["sets"].items() if "object" not in name}
    out.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return out


def run_gaussians(data: Path, checkpoint: Path, out: Path, options: list[str]) -> None:
    """Trains a Gaussian decoder on what a model makes of voxels, in a process of its own, unless that is done."""
    if not (out / "training_3d.json").is_file():
        command = [sys.executable, "-m", "atoken.training.recipes.tiny.train_gaussians"]
        subprocess.run([*command, str(data / "objects"), str(checkpoint), str(out), *options], check=True)


def first_gaussians(data: Path, run: Path, size: str, minutes: float, device: str, seed: int) -> Path:
    """Trains the Gaussian decoder that stage 3 begins with, behind stage 2's model; gives its folder."""
    out, chosen = run / "gaussians", SIZES[size]
    options = ["--minutes", str(minutes), "--device", device, "--seed", str(seed)]
    options += ["--width", str(chosen.gaussian_width), "--layers", str(chosen.gaussian_layers)]
    run_gaussians(data, run / "stage-2/model", out, options)
    return out


def start_of(stage: int, run: Path, data_file: Path, gaussians: Path | None, seed: int) -> Path:
    """Gives the folder of the model that a stage begins with, made of the stage before where something comes in."""
    base, before = run / "start", run / f"stage-{stage - 1}/model"
    if stage == 0:
        return base / "start"
    if stage == 1:
        # From here on training may change what the first latents are made of.
        copy_rows(base / "narrow", before)
        return before
    start = run / f"stage-{stage}/start"
    if stage == 2:
        widen(before, base / "wide", start)
        copy_rows(base, start)
    elif stage == 3:
        assert gaussians is not None
        with_gaussians(before, gaussians, start)
    else:
        with_codes(before, reconstruction_batches(Stage.read(stage_file_of(stage)), data_file, seed), start, seed)
    return start


def stage_file_of(stage: int) -> Path:
    """Gives the file of a stage."""
    return HERE / f"stages/tiny-{stage}.yaml"


def reconstruction_batches(stage: Stage, data_file: Path, seed: int) -> list[TrainingBatch]:
    """Draws a few batches of every task of reconstruction."""
    tasks = [task for task in stage.ratios if task.endswith("reconstruction")]
    data, sizes = read_data(data_file), stage.batch_sizes
    opened = open_tasks(tasks, data, sizes, stage.limits, None, 0, seed, 0, 1, 0, stage.step_tokens)
    batches = [next(opened[task]) for task in tasks for _ in range(SEEN)]
    for each in opened.values():
        each.close()
    return batches


def measure_stage(stage: int, run: Path, data_file: Path, templates: list[Path], seed: int) -> dict[str, float]:
    """Writes RUN/stage-N/released and what the harness finds of it, by several of its files."""
    folder = run / f"stage-{stage}"
    batches = reconstruction_batches(Stage.read(stage_file_of(stage)), data_file, seed)
    release(folder / "model", batches, folder / RELEASED)
    return measure_released(stage, folder, templates)


def measure_released(stage: int, folder: Path, templates: list[Path]) -> dict[str, float]:
    """Measures FOLDER/released, a stage's weights, by several files of the harness."""
    numbers: dict[str, float] = {}
    for template in templates:
        file = evaluation_for(stage, template, folder / template.name)
        numbers |= validate(file, folder / RELEASED, folder / template.stem)[0]
    return numbers


def main(
    data: Annotated[Path, typer.Argument(help="Folder with photos, clips and objects.")],
    out: Annotated[Path, typer.Argument(help="Folder for all stages.")],
    size: Annotated[str, typer.Option(help=f"One of {', '.join(SIZES)}.")] = "tiny",
    continue_from: Annotated[
        Path | None, typer.Option(help="Released weights of this recipe, continuous, that stage 3 goes on with.")
    ] = None,
    teacher_from: Annotated[
        Path | None, typer.Option("--teacher", help="Of understanding, beside --continue-from; else those weights.")
    ] = None,
    last: Annotated[int, typer.Option(help="The last stage to run.")] = STAGES[-1],
    minutes: Annotated[
        float | None, typer.Option(help="Time for the steps of all stages together, instead of their numbers of steps.")
    ] = None,
    device: Annotated[str, typer.Option(help='"cpu" or "cuda".')] = "cpu",
    processes: Annotated[int, typer.Option(help="That share every step.")] = 1,
    evaluate: Annotated[bool, typer.Option(help="Measure every stage but the teacher's.")] = True,
    seed: Annotated[int, typer.Option()] = 0,
) -> None:
    """Runs what is not done yet."""
    if size not in SIZES:
        raise typer.BadParameter(f"--size must be one of {', '.join(SIZES)}, got {size!r}")
    if teacher_from is not None and continue_from is None:
        raise typer.BadParameter("--teacher goes with --continue-from; without it a teacher is trained as stage 0")
    sources = localized(HERE / "sources/tiny.yaml", data, out / "sources.yaml")
    templates = [localized(path, data, out / path.name) for path in (EVALUATION, PERCEPTION)]
    shares = SHARES if continue_from is None else CONTINUED_SHARES
    if continue_from is None and not (out / "start" / DONE).is_file():
        start = [sys.executable, "-m", "atoken.training.recipes.tiny.start", str(data), str(out / "start")]
        subprocess.run([*start, "--size", size, "--seed", str(seed)], check=True)
    record_file = out / "record.json"
    for stage in STAGES[CONTINUED if continue_from else 0 : last + 1]:
        folder, gaussians = out / f"stage-{stage}", None
        if not (folder / "finished").is_file():
            teacher = None if stage == 0 else teacher_from or continue_from or out / "stage-0/model"
            if stage == CONTINUED and continue_from is None:
                time = GAUSSIAN_MINUTES if minutes is None else minutes * SHARES["gaussians"]
                gaussians = first_gaussians(data, out, size, time, device, seed)
            if stage == CONTINUED and continue_from is not None:
                start = folder / "start"
                continued(continue_from, start)
            else:
                start = start_of(stage, out, sources, gaussians, seed)
            options = ["--seed", str(seed), "--save-every", "200", "--workers", "1"]
            if minutes is not None:
                options += ["--minutes", str(minutes * shares[stage])]
            run_stage(stage_file_of(stage), start, sources, folder, teacher, options, processes, device)
            (folder / "finished").touch()
        record = json.loads(record_file.read_text(encoding="utf-8")) if record_file.is_file() else {}
        if evaluate and stage > 0 and str(stage) not in record:
            record[str(stage)] = measure_stage(stage, out, sources, templates, seed)
            write_text(record_file, json.dumps(record, indent=1) + "\n")
            write_text(out / "record.md", tables_of(record))
            places = {str(data): "DATA", str(out): "OUT"}
            text = json.dumps(record_of(record, out, stage, places, stage_file_of, continue_from), indent=1)
            write_text(folder / RELEASED / "training.json", text + "\n")


if __name__ == "__main__":
    typer.run(main)
