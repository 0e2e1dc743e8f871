"""The paper's arguments at a laptop's size: the parts of the image loss, the media, and the size of the model.

    python -m atoken.training.recipes.tiny.curriculum DATA RUN --last 0 --no-evaluate
    python -m atoken.training.recipes.tiny.ablation DATA RUN OUT

Every arm is a run of `atoken.training.tokenizer.train` from one PCA start with one teacher, one seed and equally many
steps, and is measured by the evaluation harness: OUT/ablation.md has the table, OUT/ablation.png the plot. Goes on
where it was stopped.
"""

import json
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
from .curriculum import HERE, localized, run_stage, with_gaussians

DEEPER = 8  # blocks of the bigger sibling's encoder and decoder; atoken-tiny has 4
# The paper's weights times 100, as the tiny stages have them.
PERCEPTUAL = {"losses": {"image": {"l1": 100, "lpips": 1000, "gram": 100000}}}
FEW = {"batch_sizes": {"image_understanding": 16, "image_reconstruction": 2}}  # as VGG-16 sees 224 x 224 pixels of each
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
MEASURED = """
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
"""
# "set/number" of the harness -> (heading, decimals, factor)
COLUMNS = {
    "photos/psnr": ("photos, PSNR (dB)", 2, 1),
    "photos/ssim": ("SSIM", 3, 1),
    "photos/random_gram": ("Gram distance x 1000", 2, 1000),
    "clips/psnr": ("clips, PSNR (dB)", 2, 1),
    "image shape/top1": ("image shape (%)", 1, 100),
    "video motion/top1": ("video motion (%)", 1, 100),
}


@dataclass(frozen=True)
class Arm:
    """Describes one run: which stage, what differs from its file, and the start's blocks."""

    name: str
    stage: int
    layers: int = 4
    losses: str | None = None
    changes: dict[str, Any] = field(default_factory=dict)


COMPARISONS = {
    "losses": [
        Arm("L1", 1, losses="l1", changes=PERCEPTUAL | FEW),
        Arm("L1, LPIPS", 1, losses="l1,lpips-random", changes=PERCEPTUAL | FEW),
        Arm("L1, LPIPS, Gram", 1, losses="l1,lpips-random,gram-random", changes=PERCEPTUAL | FEW),
    ],
    "media": [
        Arm(f"{media}, {layers} + {layers} blocks", stage, layers, changes=ALIKE)
        for layers in (4, DEEPER)
        for stage, media in ((1, "images"), (2, "images and videos"), (3, "images, videos, 3D"))
    ],
}


def folder_of(arm: Arm, out: Path) -> Path:
    """Gives the folder of a run."""
    return out / arm.name.replace(" ", "-").replace(",", "").replace("+", "and")


def write_stage(arm: Arm, steps: int, out: Path) -> Path:
    """
    Writes the arm's stage file: with all latents from the first step and the first stage's rates, as only the named
    difference should count.
    """
    values, first = (
        yaml.safe_load((HERE / f"stages/tiny-{stage}.yaml").read_text(encoding="utf-8")) for stage in (arm.stage, 1)
    )
    values |= {"name": arm.name, "latent_channels": 48, "steps": steps, "optimizer": first["optimizer"], **arm.changes}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return out


def start_of(layers: int, data: Path, run: Path, out: Path) -> Path:
    """Gives a PCA start with that many blocks: the curriculum's own, or one made like it."""
    folder = run / "start" if layers == 4 else out / f"start-{layers}"
    if not (folder / PROTECTED).is_file():
        options = [str(data), str(folder), "--layers", str(layers)]
        subprocess.run([sys.executable, "-m", "atoken.training.recipes.tiny.start", *options], check=True)
    shutil.copy(folder / PROTECTED, folder / "wide" / PROTECTED)
    return folder / "wide"


def run_arm(arm: Arm, steps: int, data: Path, run: Path, gaussians: Path, out: Path) -> dict[str, float]:
    """Trains and measures one arm, unless that is done already."""
    folder = folder_of(arm, out)
    numbers_file = folder / "numbers.json"
    if not numbers_file.is_file():
        start = start_of(arm.layers, data, run, out)
        if arm.stage >= 3:
            with_gaussians(start, gaussians, folder / "start")
            start = folder / "start"
        options = ["--save-every", "200"] + (["--losses", arm.losses] if arm.losses else [])
        sources = localized(HERE / "sources/tiny.yaml", data, out / "sources.yaml")
        stage_file = write_stage(arm, steps, folder / "stage.yaml")
        run_stage(stage_file, start, sources, folder, run / "stage-0/model", options)
        template = folder / "template.yaml"
        template.write_text(MEASURED.replace("data/", f"{data}/"), encoding="utf-8")
        numbers, _ = validate(template, folder / "model", folder / "evaluation")
        with atomic_file(numbers_file) as temporary:
            temporary.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    return json.loads(numbers_file.read_text(encoding="utf-8"))


def table(rows: dict[str, dict[str, float]]) -> str:
    """Writes the numbers as Markdown; arms that were not trained for a column are measured, too."""
    lines = ["| arm | " + " | ".join(heading for heading, _, _ in COLUMNS.values()) + " |"]
    lines.append("|---|" + "---|" * len(COLUMNS))
    for name, numbers in rows.items():
        cells = [f"{numbers[key] * factor:.{decimals}f}" for key, (_, decimals, factor) in COLUMNS.items()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def plot(found: dict[str, dict[str, dict[str, float]]], path: Path) -> None:
    """Plots what the losses trade, and what more media cost each size."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    for name, numbers in found.get("losses", {}).items():
        point = numbers["photos/random_gram"], numbers["photos/psnr"]
        axes[0].scatter(*point)
        axes[0].annotate(name, point, xytext=(6, 4), textcoords="offset points")
    axes[0].set(xlabel="Gram distance of photos (random VGG)", ylabel="PSNR of photos (dB)", title="Image losses")
    axes[0].margins(0.35)
    for layers in (4, DEEPER):
        arms = [arm for arm in COMPARISONS["media"] if arm.layers == layers and arm.name in found.get("media", {})]
        media = [arm.name.rpartition(f", {layers}")[0] for arm in arms]
        for axis, key in ((axes[1], "photos/psnr"), (axes[2], "clips/psnr")):
            values = [found["media"][arm.name][key] for arm in arms]
            axis.plot(media, values, marker="o", label=f"{layers} + {layers} blocks")
    axes[1].set(ylabel="PSNR of photos (dB)", title="Media and size: photos")
    axes[2].set(ylabel="PSNR of clips (dB)", title="Media and size: clips")
    for axis in axes[1:]:
        axis.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(
    data: Annotated[Path, typer.Argument(help="Folder of the tiny curriculum's data.")],
    run: Annotated[Path, typer.Argument(help="Folder of a tiny curriculum, for its start and teacher.")],
    out: Annotated[Path, typer.Argument(help="Folder for runs, table and plot.")],
    only: Annotated[str, typer.Option(help="Comparisons, by comma.")] = "losses,media",
    steps: Annotated[int, typer.Option(help="Of every arm that compares media.")] = 500,
    loss_steps: Annotated[int, typer.Option(help="Of every arm that compares losses.")] = 200,
    gaussians: Annotated[Path, typer.Option(help="Checkpoint whose Gaussian decoder 3D begins with.")] = Path(
        "checkpoints/atoken-tiny"
    ),
) -> None:
    """Runs what is not done yet, then writes table and plot."""
    if unknown := set(only.split(",")) - set(COMPARISONS):
        raise typer.BadParameter(f"--only must be among {', '.join(COMPARISONS)}, got {', '.join(sorted(unknown))}")
    found: dict[str, dict[str, dict[str, float]]] = {}
    for comparison in only.split(","):
        length = loss_steps if comparison == "losses" else steps
        for arm in COMPARISONS[comparison]:
            found.setdefault(comparison, {})[arm.name] = run_arm(arm, length, data, run, gaussians, out)
    texts = [f"## {name.capitalize()}\n\n{table(rows)}\n" for name, rows in found.items()]
    (out / "ablation.md").write_text("\n".join(texts), encoding="utf-8")
    plot(found, out / "ablation.png")
    print("\n".join(texts))


if __name__ == "__main__":
    typer.run(main)
