"""The tiny generators from nothing: scenes, their latents and codes, two trainings, a judge, and what samples are like.

    python -m atoken.training.recipes.tiny_generators.run OUT --minutes 120

It goes on where it was stopped. OUT/released/NAME are pipelines of diffusers with their records, to be
put beside the tokenizers that their links lead to; OUT/NAME/samples.png and neighbors.png show what they make.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from atoken.evaluation.metrics.scene_judge import load_judge
from atoken_headers.model_folders import CHECKPOINTS

from ..text_files import write_text
from .card import card_of
from .corpora import write_corpus, write_pictures
from .judge import train_judge
from .measuring import measure
from .release import RECORD, record_of, release
from .scenes import CLASS_NAMES, SIZE
from .subjects import SUBJECTS, Subject

JUDGE_SCENES, JUDGE_EPOCHS = 8192, 6
MOST_STEPS = 1_000_000  # time ends a training
PROTOCOL = (
    "Scenes of 64 x 64 pixels, a class is a color and a shape, classes in turn. Right: by a network trained on other "
    "scenes, counted over samples. Ceiling: new true scenes through the tokenizer. FID: in that network's 128 "
    "features, to 4,096 true scenes. Neighbors: root mean square of differences to the nearest scene of training, in "
    "gray levels, of 256 samples and, as a scale, of 256 new scenes through the tokenizer. Weights rounded to bf16, "
    "run in fp32"
)


def train(subject: Subject, out: Path, tokenizer: Path, minutes: float, seed: int) -> None:
    """Trains a generator in a process of its own, unless that is done."""
    run = out / subject.name
    if (run / "model").is_dir():
        return
    command = [sys.executable, "-m", "atoken.training.generators.train", str(subject.stage_file)]
    command += ["--tokens", str(out / subject.corpus), "--tokenizer", str(tokenizer), "--output", str(run)]
    command += ["--class-names", str(out / "classes.txt"), "--in-memory", "--seed", str(seed)]
    command += ["--minutes", str(minutes), "--steps", str(MOST_STEPS)]
    command += ["--save-every", "1000", "--keep", "2", "--log-every", "20", "--draw-every", "1000"]
    subprocess.run(command, check=True, env={**os.environ, "ACCELERATE_USE_CPU": "true"})


def conclude(subject: Subject, out: Path, count: int, facts: dict[str, str]) -> None:
    """Releases a trained generator, measures what is released, and writes its record and card, unless that is done."""
    run, released, tokenizer = out / subject.name, out / "released" / subject.name, CHECKPOINTS / subject.tokenizer
    if not released.is_dir():
        release(subject, run / "model", tokenizer, released)
    if (released / RECORD).is_file():
        return
    judge = load_judge(out / "judge.safetensors")
    measured = measure(subject, released / "transformer", tokenizer, judge, out / "pictures.parquet", count, run)
    record = record_of(subject, run, released, measured, facts)
    write_text(released / "README.md", card_of(subject, record))
    write_text(released / RECORD, json.dumps(record, indent=1) + "\n")
    print(f"{subject.name}: " + json.dumps({name: measured[name] for name in ("samples", "ceiling")}), flush=True)


def main(
    out: Annotated[Path, typer.Argument(help="Folder for all of it.")],
    minutes: Annotated[float, typer.Option(help="Time for the steps of all trainings together.")] = 120.0,
    scenes: Annotated[int, typer.Option(help="Scenes that the generators learn of.")] = 16384,
    count: Annotated[int, typer.Option("--samples", help="Samples that are measured.")] = 1000,
    only: Annotated[str | None, typer.Option(help="Name of the one generator to make. Default: both.")] = None,
    seed: Annotated[int, typer.Option(help="Of the trainings.")] = 0,
) -> None:
    """Does what is not done yet."""
    subjects = [subject for subject in SUBJECTS if only in (None, subject.name)]
    if not subjects:
        names = ", ".join(subject.name for subject in SUBJECTS)
        raise typer.BadParameter(f"--only must be one of {names}, got {only!r}")
    pictures, judged = out / "pictures.parquet", out / "judge.safetensors"
    write_pictures(pictures, scenes)
    write_text(out / "classes.txt", "\n".join(CLASS_NAMES) + "\n")
    for subject in subjects:
        tokenizer = CHECKPOINTS / subject.tokenizer
        write_corpus(pictures, tokenizer, out / subject.corpus)
        train(subject, out, tokenizer, minutes / len(subjects), seed)
    if not judged.is_file():
        for epoch, loss in enumerate(train_judge(judged, JUDGE_SCENES, JUDGE_EPOCHS)):
            print(f"judge: epoch {epoch + 1} of {JUDGE_EPOCHS}, loss {loss:.4f}", flush=True)
    command = f"python -m atoken.training.recipes.tiny_generators.run OUT --minutes {minutes:g} --scenes {scenes}"
    facts = {
        "command": f"{command} --samples {count} --seed {seed}" + (f" --only {only}" if only else ""),
        "data": f"{scenes:,} scenes of the miniature world at {SIZE} pixels, drawn by scenes.py of the recipe",
        "protocol": PROTOCOL,
    }
    for subject in subjects:
        conclude(subject, out, count, facts)


if __name__ == "__main__":
    typer.run(main)
