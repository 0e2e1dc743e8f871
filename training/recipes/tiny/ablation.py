"""The paper's arguments at a laptop's size: the parts of the image loss, the media, and the size of the model.

    python -m atoken.training.recipes.tiny.ablation DATA OUT --start checkpoints/atoken-tiny --only losses
    python -m atoken.training.recipes.tiny.ablation DATA OUT --run RUN

RUN is a folder of `curriculum`, of which `--last 0 --no-evaluate` is enough. Every arm is a run of
`atoken.training.tokenizer.train`, or with a discriminator of `discriminator`, from one start with one teacher, one seed
and equally many steps, and is measured by the evaluation harness: OUT/ablation.md has the tables, OUT/losses.png and
OUT/media.png the plots, OUT/pictures.png photos side by side. Goes on where it was stopped.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from atoken.processing.atomic_files_atoken import atomic_file

from ...frozen_rows import FILE as PROTECTED
from ...tokenizer.validation import validate
from .ablation_report import plot_losses, plot_media, read_logits, table, write_contact_sheet
from .between_stages import with_gaussians
from .curriculum import HERE, localized, run_stage

DEEPER = 8  # blocks of the bigger sibling's encoder and decoder; atoken-tiny has 4
TRUNKS = {"vgg": "st-lpips", "alex": "st-lpips-alex"}  # of ST-LPIPS and Gram, and the distance's name
# The paper's weights times 100, as the tiny stages have them; ST-LPIPS takes the place of LPIPS.
PERCEPTUAL = {"losses": {"image": {"l1": 100, "lpips": 1000, "gram": 100000}}}
# What is trained already moves a third as fast.
GOING_ON = {"rate": 3.0e-4, "adamw_rate": 1.2e-4}
# The same for arms of all stages, whose files differ in these.
ALIKE = {
    "max_tokens": 800,
    "batch_sizes": {
        "image_understanding": 16,
        "image_reconstruction": 16,
        "video_understanding": 64,
        "video_reconstruction": 8,
        "3d_understanding": 48,
        "3d_reconstruction": 1,
    },
    "losses": {"image": {"l1": 100}, "video": {"l1": 100}, "3d": {"l1": 100, "ms_ssim": 20}},
}
# What the arms of each comparison are measured by. FD of few photos is coarse, so it is also of the new test photos.
MEASURED = {
    "losses": """
title: Ablation
measures: [psnr, ssim, st-lpips-vgg, st-lpips-alex, fd-lite0, random-gram]
chunk_size: 4
sets:
  photos: {set: image-folder, folder: data/photos/heldout, size: 256}
  test photos: {set: image-folder, folder: data/photos/test, size: 256}
tokenizers:
  media: {adapter: atoken, model: MODEL}
""",
    "media": """
title: Ablation
measures: [psnr, ssim, random-gram]
chunk_size: 4
sets:
  photos: {set: image-folder, folder: data/photos/heldout, size: 256}
  clips: {set: video-folder, folder: data/clips/heldout, size: 256, multiple: 16, frames: 16, every: 60}
  image shape: {set: miniature-classification, task: classification, kind: image, attribute: shape, count: 160}
  video motion: {set: miniature-classification, task: classification, kind: video, attribute: motion, count: 160}
tokenizers:
  media: {adapter: atoken, model: MODEL}
embedders:
  embeddings: {adapter: atoken, model: MODEL, video: whole}
""",
}


@dataclass(frozen=True)
class Arm:
    """Describes one run: which stage, what differs from its file, the start's blocks, and if it has a discriminator."""

    name: str
    stage: int
    layers: int = 4
    losses: str | None = None
    changes: dict[str, Any] = field(default_factory=dict)
    adversarial: bool = False


COMPARISONS = {
    "losses": [
        Arm("L1", 1, losses="l1", changes=PERCEPTUAL),
        Arm("L1, ST-LPIPS", 1, losses="l1,st-lpips", changes=PERCEPTUAL),
        Arm("L1, ST-LPIPS, Gram", 1, losses="l1,st-lpips,gram", changes=PERCEPTUAL),
        Arm("L1, ST-LPIPS, discriminator", 1, losses="l1,st-lpips", changes=PERCEPTUAL, adversarial=True),
    ],
    "media": [
        Arm(f"{media}, {layers} + {layers} blocks", stage, layers, changes=ALIKE)
        for layers in (4, DEEPER)
        for stage, media in ((1, "images"), (2, "images and videos"), (3, "images, videos, 3D"))
    ],
}


@dataclass(frozen=True)
class Bench:
    """
    Holds what all arms share.

    Attributes:
        data: folder of the tiny curriculum's data.
        out: folder for runs, tables and plots.
        run: folder of a tiny curriculum, for its starts and its teacher; or None, to go on with `checkpoint`.
        checkpoint: released weights that all arms start from, which are also their teacher.
        gaussians: checkpoint whose Gaussian decoder 3D begins with.
        trunk: of ST-LPIPS and Gram, one of `TRUNKS`.
        device: "cpu" or "cuda".
    """

    data: Path
    out: Path
    run: Path | None = None
    checkpoint: Path | None = None
    gaussians: Path = Path("checkpoints/atoken-tiny")
    trunk: str = "alex"
    device: str = "cpu"

    def folder_of(self, arm: Arm) -> Path:
        """Gives the folder of a run."""
        return self.out / arm.name.replace(" ", "-").replace(",", "").replace("+", "and")

    def losses_of(self, arm: Arm) -> str | None:
        """Gives the names of the arm's parts of the image loss."""
        return arm.losses and arm.losses.replace("st-lpips", TRUNKS[self.trunk])

    @property
    def teacher(self) -> Path:
        """Gives the folder of the model that image embeddings are distilled from."""
        return self.checkpoint or self._run / "stage-0/model"

    @property
    def _run(self) -> Path:
        assert self.run is not None
        return self.run

    def start_of(self, layers: int) -> Path:
        """Gives a start with that many blocks: the checkpoint, the curriculum's own PCA start, or one made like it."""
        if self.checkpoint is not None:
            return self.checkpoint
        folder = self._run / "start" if layers == 4 else self.out / f"start-{layers}"
        if not (folder / PROTECTED).is_file():
            options = [str(self.data), str(folder), "--layers", str(layers)]
            subprocess.run([sys.executable, "-m", "atoken.training.recipes.tiny.start", *options], check=True)
        shutil.copy(folder / PROTECTED, folder / "wide" / PROTECTED)
        return folder / "wide"

    def write_stage(self, arm: Arm, steps: int, path: Path) -> Path:
        """
        Writes the arm's stage file: with all latents from the first step and the first stage's rates, as only the named
        difference should count.
        """
        values, first = (
            yaml.safe_load((HERE / f"stages/tiny-{stage}.yaml").read_text(encoding="utf-8")) for stage in (arm.stage, 1)
        )
        optimizer = first["optimizer"] | (GOING_ON if self.checkpoint else {})
        values |= {"name": arm.name, "latent_channels": 48, "steps": steps, "optimizer": optimizer, **arm.changes}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
        return path

    def train(self, arm: Arm, steps: int) -> None:
        """Trains one arm."""
        folder, start = self.folder_of(arm), self.start_of(arm.layers)
        if arm.stage >= 3:
            with_gaussians(start, self.gaussians, folder / "start")
            start = folder / "start"
        sources = localized(HERE / "sources/tiny.yaml", self.data, self.out / "sources.yaml")
        stage_file = self.write_stage(arm, steps, folder / "stage.yaml")
        losses = self.losses_of(arm)
        options = ["--workers", "1"] + (["--losses", losses] if losses else [])
        if arm.adversarial:
            train_adversarially(stage_file, start, sources, folder, self.teacher, options, self.device)
        else:
            options += ["--save-every", "200", "--log-every", "5"]
            run_stage(stage_file, start, sources, folder, self.teacher, options, device=self.device)

    def measure(self, comparison: str, model: Path, folder: Path) -> dict[str, float]:
        """Measures a model, unless that is done already."""
        numbers_file = folder / "numbers.json"
        if not numbers_file.is_file():
            template = folder / "template.yaml"
            template.parent.mkdir(parents=True, exist_ok=True)
            template.write_text(MEASURED[comparison].replace("data/", f"{self.data}/"), encoding="utf-8")
            numbers, _ = validate(template, model, folder / "evaluation")
            with atomic_file(numbers_file) as temporary:
                temporary.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
        return json.loads(numbers_file.read_text(encoding="utf-8"))

    def compare(self, comparison: str, steps: int) -> dict[str, dict[str, float]]:
        """Trains and measures all arms of a comparison, as far as that is not done, and the start; numbers by arm."""
        rows = {}
        if comparison == "losses":
            rows["the start"] = self.measure(comparison, self.start_of(4), self.out / "the-start")
        for arm in COMPARISONS[comparison]:
            folder = self.folder_of(arm)
            if not (folder / "numbers.json").is_file():
                self.train(arm, steps)
            rows[arm.name] = self.measure(comparison, folder / "model", folder)
        return rows

    def report(self, comparison: str, rows: dict[str, dict[str, float]]) -> None:
        """Draws plots, and pictures of the arms that compare losses."""
        arms = COMPARISONS[comparison]
        if comparison == "media":
            sizes = {
                layers: {arm.name.rpartition(f", {layers}")[0]: arm.name for arm in arms if arm.layers == layers}
                for layers in (4, DEEPER)
            }
            plot_media(rows, sizes, self.out / "media.png")
            return
        logits = {arm.name: read_logits(self.folder_of(arm)) for arm in arms}
        plot_losses(rows, {name: found for name, found in logits.items() if found}, self.out / "losses.png")
        models = {"the start": self.start_of(4)} | {arm.name: self.folder_of(arm) / "model" for arm in arms}
        write_contact_sheet(models, self.data / "photos/heldout", self.out / "pictures.png")


def train_adversarially(
    stage_file: Path, start: Path, data_file: Path, out: Path, teacher: Path, options: list[str], device: str
) -> None:
    """Trains an arm with a discriminator, from the first step, in a process of its own."""
    for path in (out / "model", *out.glob("checkpoint-*")):
        shutil.rmtree(path, ignore_errors=True)
    (out / "log.jsonl").unlink(missing_ok=True)
    environment = os.environ | ({"ACCELERATE_USE_CPU": "true"} if device == "cpu" else {})
    command = [sys.executable, "-m", "atoken.training.recipes.tiny.discriminator", str(stage_file)]
    command += ["--data", str(data_file), "--init-from", str(start), "--output", str(out), "--teacher", str(teacher)]
    subprocess.run([*command, *options], check=True, env=environment)


def main(
    data: Annotated[Path, typer.Argument(help="Folder of the tiny curriculum's data.")],
    out: Annotated[Path, typer.Argument(help="Folder for runs, tables and plots.")],
    run: Annotated[Path | None, typer.Option(help="Folder of a tiny curriculum, for its starts and teacher.")] = None,
    start: Annotated[
        Path | None, typer.Option(help="Released weights that arms start from, instead of PCA; only for losses.")
    ] = None,
    only: Annotated[str, typer.Option(help="Comparisons, by comma.")] = ",".join(COMPARISONS),
    steps: Annotated[int, typer.Option(help="Of every arm that compares media.")] = 500,
    loss_steps: Annotated[int, typer.Option(help="Of every arm that compares losses.")] = 200,
    trunk: Annotated[str, typer.Option(help=f"Of ST-LPIPS and Gram: {' or '.join(TRUNKS)}.")] = "alex",
    gaussians: Annotated[
        Path, typer.Option(help="Checkpoint whose Gaussian decoder 3D begins with.")
    ] = Bench.gaussians,
    device: Annotated[str, typer.Option(help='"cpu" or "cuda".')] = "cpu",
) -> None:
    """Runs what is not done yet, then writes tables, plots and pictures."""
    comparisons = only.split(",")
    if unknown := set(comparisons) - set(COMPARISONS):
        raise typer.BadParameter(f"--only must be among {', '.join(COMPARISONS)}, got {', '.join(sorted(unknown))}")
    if (run is None) == (start is None):
        raise typer.BadParameter("one of --run and --start must be given, got both or neither")
    if start is not None and "media" in comparisons:
        raise typer.BadParameter("--only must be losses with --start, as media are compared from PCA, got media")
    if trunk not in TRUNKS:
        raise typer.BadParameter(f"--trunk must be one of {', '.join(TRUNKS)}, got {trunk!r}")
    bench = Bench(data, out, run, start, gaussians, trunk, device)
    texts = []
    for comparison in comparisons:
        rows = bench.compare(comparison, loss_steps if comparison == "losses" else steps)
        bench.report(comparison, rows)
        texts.append(f"## {comparison.capitalize()}\n\n{table(rows)}\n")
    with atomic_file(out / "ablation.md") as temporary:
        temporary.write_text("\n".join(texts), encoding="utf-8")
    print("\n".join(texts))


if __name__ == "__main__":
    typer.run(main)
