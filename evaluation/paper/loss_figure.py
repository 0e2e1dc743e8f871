"""Figure 4: losses of images, from the record of the ablation, and what a Fréchet distance is made of, measured."""

import json

from atoken.pages.paper import Shown, TitledTable
from atoken.pages.report import Table

from .image_tables import image_results
from .parts import MissingInput, Part
from .protocol import protocol_lines
from .reconstruction_config import CONTINUOUS, DISCRETE
from .section import Real
from .workspace import Workspace

RECORD, PLOT, PICTURES = "docs/ablation/losses.json", "docs/ablation/losses.png", "docs/ablation/pictures.jpg"
REMEDY = "git has it, and `python -m atoken.training.recipes.tiny.ablation` makes it again"
# Heading -> number of the record, factor, decimals.
COLUMNS = {
    "photos PSNR ↑": ("photos/psnr", 1, 2),
    "SSIM ↑": ("photos/ssim", 1, 3),
    "ST-LPIPS (VGG) ↓": ("photos/st_lpips_vgg", 1, 3),
    "ST-LPIPS (AlexNet) ↓": ("photos/st_lpips_alex", 1, 3),
    "FD (EfficientNet-lite0) ↓": ("photos/fd_lite0 total", 1, 1),
    "Gram distance x 1000 ↓": ("photos/random_gram", 1000, 2),
    "photos": ("photos/count", 1, 0),
}


def make(workspace: Workspace) -> Part:
    """Makes Figure 4."""
    arms = json.loads(workspace.file(RECORD, REMEDY).read_text(encoding="utf-8"))
    rows = [
        [arm, *(f"{factor * numbers[name]:.{decimals}f}" for name, factor, decimals in COLUMNS.values())]
        for arm, numbers in arms.items()
    ]
    tables = [TitledTable("Arms of the ablation, from its record", Table(["losses", *COLUMNS], rows))]
    protocol, missing = [f"arms: {RECORD}; docs/curriculum.md says how they were trained"], []
    results, _ = image_results(workspace)
    parts = {one.model: one.numbers["fd_lite0"] for one in results if "fd_lite0" in one.numbers}
    if parts:
        tables.append(TitledTable("What FD (EfficientNet-lite0) is made of, measured", shares_table(parts)))
        protocol += protocol_lines(one for one in results if one.model in (CONTINUOUS, DISCRETE))
    else:
        missing.append('the shares of FD (EfficientNet-lite0) were not measured: pip install "atoken[perceptual]"')
    shown = [
        Shown(_bytes(workspace, PLOT), "", "PSNR against two distances for each arm, and the logits", "The arms"),
        Shown(
            _bytes(workspace, PICTURES), "pictures", "four photos and what each arm makes of them", "held-out photos"
        ),
    ]
    measured = (
        "Arms that go on from the same weights for 150 steps on images with different losses. In so few steps the "
        "discriminator learns almost nothing, so the paper's (a) is neither shown nor refuted. The share of the "
        "covariance is that of a small network's distance for the tiny checkpoints on few photos, where the paper has "
        "rFID's."
    )
    return Part(measured, tables, shown, protocol, missing)


def shares_table(parts: dict[str, dict[str, float]]) -> Table:
    """Tabulates the mean's and the covariance's share of distances with "total", "mean" and "covariance"."""
    rows = [
        [model, f"{100 * one['mean'] / one['total']:.1f}", f"{100 * one['covariance'] / one['total']:.1f}"]
        for model, one in parts.items()
    ]
    return Table(["model", "share of the mean, %", "share of the covariance, %"], rows)


def real() -> Real:
    """Says what Figure 4 needs."""
    return Real(
        "training/tokenizer/stages/so400m-1.yaml with and without the Gram loss; a discriminator exists only in "
        "training/recipes/tiny/ablation",
        "the images of stage 1, and ImageNet val for rFID",
        "as stage 1 of Table 2 for each arm, as far as it is trained; the paper does not say how far",
    )


def _bytes(workspace: Workspace, name: str) -> bytes:
    try:
        return workspace.file(name, REMEDY).read_bytes()
    except OSError as error:
        raise MissingInput(f"{name} cannot be read: {error}") from error
