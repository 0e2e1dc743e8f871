"""What came of an ablation: tables, plots, the discriminator's logits, and pictures side by side."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw

from atoken.evaluation.models.atoken_tokenizers import AtokenMedia
from atoken.evaluation.sets.image_sets import image_folder
from atoken.processing.atomic_files_atoken import atomic_file

Numbers = dict[str, dict[str, float]]  # by arm and "set/number"
# "set/number" of the harness -> (heading, decimals, factor); only those that were measured are shown.
COLUMNS = {
    "photos/psnr": ("photos, PSNR (dB)", 2, 1),
    "photos/ssim": ("SSIM", 3, 1),
    "photos/st_lpips_vgg": ("ST-LPIPS (VGG)", 3, 1),
    "photos/st_lpips_alex": ("ST-LPIPS (AlexNet)", 3, 1),
    "photos/fd_lite0 total": ("FD (EfficientNet-lite0)", 1, 1),
    "photos/random_gram": ("Gram distance x 1000", 2, 1000),
    "test photos/psnr": ("test photos, PSNR (dB)", 2, 1),
    "test photos/st_lpips_vgg": ("test photos, ST-LPIPS (VGG)", 3, 1),
    "test photos/fd_lite0 total": ("test photos, FD (EfficientNet-lite0)", 1, 1),
    "clips/psnr": ("clips, PSNR (dB)", 2, 1),
    "image shape/top1": ("image shape (%)", 1, 100),
    "video motion/top1": ("video motion (%)", 1, 100),
}
_TITLE, _GAP = 24, 6  # pixels above the columns of a contact sheet, and between pictures


def table(rows: Numbers) -> str:
    """Writes the numbers as Markdown; arms that were not trained for a column are measured, too."""
    columns = {key: value for key, value in COLUMNS.items() if any(key in numbers for numbers in rows.values())}
    lines = ["| arm | " + " | ".join(heading for heading, _, _ in columns.values()) + " |"]
    lines.append("|---|" + "---|" * len(columns))
    for name, numbers in rows.items():
        cells = [
            f"{numbers[key] * factor:.{decimals}f}" if key in numbers else ""
            for key, (_, decimals, factor) in columns.items()
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def read_logits(run: Path) -> dict[str, list[float]] | None:
    """
    Reads a discriminator's mean logits from a run's log.

    Returns:
        "step", "real" and "fake", equally long; None if the run has no discriminator.
    """
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    found: dict[str, list[float]] = {"step": [], "real": [], "fake": []}
    for line in lines:
        if "image_reconstruction/logits_real" in line:
            found["step"].append(line["step"])
            for name in ("real", "fake"):
                found[name].append(line[f"image_reconstruction/logits_{name}"])
    return found if found["step"] else None


def plot_losses(rows: Numbers, logits: dict[str, dict[str, list[float]]], path: Path) -> None:
    """
    Plots what the losses trade, and what a discriminator thinks over time (paper, Figure 4a).

    Args:
        logits: of `read_logits`, by arm.
        path: a PNG.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4), layout="constrained")
    axes = figure.subplots(1, 3)
    for axis, key in zip(axes, ("photos/st_lpips_vgg", "photos/fd_lite0 total"), strict=False):
        for name, numbers in rows.items():
            axis.scatter(numbers[key], numbers["photos/psnr"], label=name)
        axis.set(xlabel=f"{COLUMNS[key][0]} of photos", ylabel="PSNR of photos (dB)", title="Image losses")
        axis.margins(0.2)
    axes[0].legend(fontsize=8)
    for name, values in logits.items():
        for side in ("real", "fake"):
            axes[2].plot(values["step"], values[side], label=f"{side}: {name}")
    axes[2].set(xlabel="step", ylabel="mean logit", title="The discriminator's logits")
    if logits:
        axes[2].legend(fontsize=8)
    _save(figure, path)


def plot_media(rows: Numbers, sizes: dict[int, dict[str, str]], path: Path) -> None:
    """
    Plots what more media cost each size of a model.

    Args:
        sizes: blocks of each half -> name of the media -> arm.
        path: a PNG.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots(1, 2)
    for axis, kind in zip(axes, ("photos", "clips"), strict=True):
        for layers, arms in sizes.items():
            values = [rows[arm][f"{kind}/psnr"] for arm in arms.values()]
            axis.plot(list(arms), values, marker="o", label=f"{layers} + {layers} blocks")
        axis.set(ylabel=f"PSNR of {kind} (dB)", title=f"Media and size: {kind}")
        axis.legend()
    _save(figure, path)


def _save(figure, path: Path) -> None:
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")


@torch.inference_mode()
def write_contact_sheet(
    models: dict[str, Path], folder: Path, path: Path, names: Sequence[str] = (), side: int = 256
) -> None:
    """
    Writes photos as each model reconstructs them, side by side: one row for each photo, originals first.

    Args:
        models: title of a column -> folder of a checkpoint.
        folder: of the photos.
        path: a PNG.
        names: those whose file names begin so; the first four photos if empty.
        side: of the photos, which are resized and cropped to squares as the harness does.

    Raises:
        ValueError: no photo has such a name.
    """
    samples = image_folder(str(folder), size=side).samples
    chosen = [one for one in samples if one.name.startswith(tuple(names))] if names else samples[:4]
    if not chosen:
        raise ValueError(f"names must be beginnings of file names in {folder}, got {', '.join(names)}")
    columns = {"original": [sample.load() for sample in chosen]}
    for title, model in models.items():
        tokenizer = AtokenMedia(str(model))
        columns[title] = [tokenizer.decode(tokenizer.encode(media)) for media in columns["original"]]
    step = side + _GAP
    sheet = Image.new("RGB", (step * len(columns) - _GAP, _TITLE + step * len(chosen) - _GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for column, (title, pictures) in enumerate(columns.items()):
        draw.text((column * step + 2, 6), title, fill="black")
        for row, picture in enumerate(pictures):
            pixels = Image.fromarray(picture[0].permute(1, 2, 0).numpy())
            sheet.paste(pixels, (column * step, _TITLE + row * step))
    with atomic_file(path) as temporary:
        sheet.save(temporary, format="PNG")
