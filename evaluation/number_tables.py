"""Tables of results, and of the paper's own figures to stand beside them."""

from typing import Any

from atoken.pages.report import Table

from .caption_measures import CUT
from .paper_tables import Row, paper_columns, paper_rows
from .pictured_objects import EMPTY
from .reports.geneval import TAGS
from .reports.vbench import DIMENSIONS
from .results import Result

# number -> (heading, decimals, factor); in the order of columns
COLUMNS = {
    "psnr": ("PSNR ↑", 2, 1),
    "ssim": ("SSIM ↑", 4, 1),
    "lpips": ("LPIPS ↓", 4, 1),
    "st_lpips_vgg": ("ST-LPIPS (VGG) ↓", 4, 1),
    "st_lpips_alex": ("ST-LPIPS (AlexNet) ↓", 4, 1),
    "random_gram": ("Gram distance, random VGG ↓", 4, 1),
    "frechet": ("Fréchet ↓ (mean + covariance)", 3, 1),
    "fd_lite0": ("FD (EfficientNet-lite0) ↓ (mean + covariance)", 1, 1),
    "bits_per_pixel": ("bits/pixel", 3, 1),
    "bits": ("kbit", 1, 1e-3),
    "inception_score": ("inception score ↑", 2, 1),
    "precision_recall": ("precision, recall ↑", 3, 1),
    "codebook": ("codebook use, perplexity", 3, 1),
    "top1": ("top-1 % ↑", 2, 100),
    "top5": ("top-5 % ↑", 2, 100),
    "neighbor_accuracy": ("nearest neighbors % ↑", 2, 100),
    "chance": ("chance %", 2, 100),
    "gfid": ("gFID ↓", 2, 1),
    "sfid": ("sFID ↓", 2, 1),
    "adm_inception_score": ("IS ↑", 1, 1),
    "adm_precision": ("precision ↑", 3, 1),
    "adm_recall": ("recall ↑", 3, 1),
    "clip_score": ("CLIP-Score ↑", 2, 1),
    "pick_score": ("PickScore ↑", 2, 1),
    **{
        f"{prefix}{name}": (f"{by}{name} right % ↑", 1, 100)
        for prefix, by in (("right_", ""), ("zero_shot_", "zero-shot: "))
        for name in ("color", "shape", "pair", "motion", "all")
    },
    CUT: ("captions cut", 0, 1),
    "structure_iou": ("structure IoU ↑", 3, 1),
    "views_psnr": ("PSNR of views ↑", 2, 1),
    "color_error": ("color error ↓ (gray levels)", 1, 1),
    EMPTY: ("empty", 0, 1),
    "geneval": ("GenEval % ↑", 2, 100),
    **{f"geneval_{tag}": (f"{tag.replace('_', ' ')} %", 2, 100) for tag in TAGS},
    "vbench_total": ("VBench, total % ↑", 2, 100),
    "vbench_quality": ("quality % ↑", 2, 100),
    "vbench_semantic": ("semantic % ↑", 2, 100),
    **{f"vbench_{name}": (f"{name.replace('_', ' ')} %", 2, 100) for name in DIMENSIONS},
    "prompts": ("prompts", 0, 1),
    "accuracy": ("accuracy %", 1, 1),
    "chance_percent": ("chance %", 1, 1),
    "reference_count": ("images of the reference", 0, 1),
    "count": ("samples", 0, 1),
}
# (kind, whether the task is reconstruction) -> number of the paper's table
PAPER = {
    ("image", True): 4,
    ("video", True): 6,
    ("object", True): 8,
    ("image", False): 5,
    ("video", False): 7,
    ("object", False): 3,
}


def number_cell(name: str, value: Any) -> str:
    _, decimals, factor = COLUMNS.get(name, (name, 3, 1))
    if name in ("frechet", "fd_lite0"):
        total, *parts = (f"{value[part]:.{decimals}f}" for part in ("total", "mean", "covariance"))
        return f"{total} ({' + '.join(parts)})"
    if name == "inception_score":
        return f"{value['mean']:.2f} ± {value['std']:.2f}"
    if name == "precision_recall":
        return f"{value['precision']:.3f}, {value['recall']:.3f}"
    if name == "codebook":
        return f"{value['usage']:.3f}, {value['perplexity']:.1f}"
    return f"{value * factor:,.{decimals}f}"


def set_table(results: list[Result]) -> Table:
    """Tabulates the results on one set; the last column is the number of samples."""
    measured = {name for result in results for name in result.numbers}
    names = [name for name in COLUMNS if name in measured]
    extra = sorted(name for name in measured - set(COLUMNS) if name.startswith(("text_to", "sample_to", "chance_at")))
    names = [*names[:-1], *extra, *names[-1:]]
    heading = ["model", *(COLUMNS[name][0] if name in COLUMNS else name.replace("_", " ") for name in names)]
    rows = []
    for result in results:
        cells = [number_cell(name, result.numbers[name]) if name in result.numbers else "" for name in names]
        rows.append([result.model, *cells])
    return Table(heading, rows)


def paper_table(kind: str, reconstruction: bool = True) -> Table:
    """Tabulates the paper's own figures for a kind of sample and task (Tables 3 to 8)."""
    return numbered_table(PAPER[kind, reconstruction])


def numbered_table(number: int | str) -> Table:
    """
    Tabulates the paper's own figures of a table.

    Args:
        number: as of `paper_columns`.

    Raises:
        ValueError: no such table.
    """
    columns = paper_columns(number)
    name = f"Table {number}" if isinstance(number, int) else number.capitalize()
    heading = [f"paper, {name}", *(f"{column.dataset} {column.metric}" for column in columns)]
    rows = [[name, *("" if value is None else f"{value:.10g}" for value in row.values)] for name, row in _named(number)]
    return Table(heading, rows)


def _named(number: int | str) -> list[tuple[str, Row]]:
    """
    Names rows as the paper does, with the sizes of stages, and the resolution or the type of tokens where a name comes
    more than once.
    """
    rows = paper_rows(number)
    names = [row.method for row in rows]
    sizes = {"image_resolution": "images", "video_resolution": "videos"}
    told = [f"{row.facts['resolution']} px" if "resolution" in row.facts else row.facts.get("type") for row in rows]
    found = []
    for row, what in zip(rows, told, strict=True):
        parts = [row.method, *([str(what)] if names.count(row.method) > 1 else [])]
        parts += [
            f"{kind} {row.facts[name][0]} to {row.facts[name][1]}" for name, kind in sizes.items() if name in row.facts
        ]
        found.append((", ".join(parts), row))
    return found
