"""Results as a page (HTML and Markdown): tables beside the paper's figures, rate and distortion, the worst samples."""

import io
from pathlib import Path
from typing import Any

from atoken.pages.report import Picture, Plot, Section, Table, write_report_page
from atoken.processing.atomic_files_atoken import atomic_file

from .paper_tables import Row, paper_columns, paper_rows
from .projection import scatter_plot
from .results import Result, Results
from .worst import Worst

MARKERS = "osD^v"
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


def _text(name: str, value: Any) -> str:
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
        cells = [_text(name, result.numbers[name]) if name in result.numbers else "" for name in names]
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


def _rate(results: list[Result]) -> str:
    return "bits" if results[0].kind == "object" else "bits_per_pixel"


def rate_distortion_plot(results: list[Result]) -> bytes:
    """
    Draws PSNR over stored bits as PNG; bits per pixel where there are pixels, else bits of an object.

    Results without bits, as of reconstructions that others made, are left out.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('plots need matplotlib: pip install "atoken[evaluation]"') from error
    rate = _rate(results)
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    shown = [result for result in results if {"psnr", rate} <= set(result.numbers)]
    for index, result in enumerate(shown):
        marker = MARKERS[index // 10 % len(MARKERS)]
        axes.plot(result.numbers[rate], result.numbers["psnr"], marker, label=result.model)
    axes.set_xscale("log")
    for axis in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        axis("{x:g}")
    axes.tick_params(axis="x", which="both", labelsize=7)
    axes.set_xlabel(rate.replace("_", " "))
    axes.set_ylabel("PSNR (dB)")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    target = io.BytesIO()
    figure.savefig(target, format="png", dpi=110)
    return target.getvalue()


def write_report(results: Results, worst: list[Worst], output: Path) -> None:
    """
    Writes results.md and index.html into `output`.

    Args:
        worst: the samples to show, with their pictures in `output`.
        output: an existing folder.
    """
    sections, texts = [], [f"# {results.title}\n"]
    for name, chosen in results.by_set().items():
        section = _section(name, chosen, [one for one in worst if one.set == name])
        sections.append(section)
        texts.append(f"## {name}\n\n{section.table.to_markdown()}\n\n{section.facts}\n")
        texts += [table.to_markdown() + "\n" for table in section.appendices.values()]
    with atomic_file(output / "results.md") as temporary:
        temporary.write_text("\n".join(texts), encoding="utf-8")
    write_report_page(output / "index.html", results.title, sections)


def _section(name: str, results: list[Result], worst: list[Worst]) -> Section:
    """Collects what there is to say and to show of the results on one set."""
    kind, task = results[0].kind, results[0].task
    facts = "; ".join(f"{key}: {value}" for key, value in results[0].protocol["set"]["protocol"].items())
    section = Section(name, set_table(results), facts)
    if task == "projection":
        section.plots.append(Plot(scatter_plot(results), "t-SNE of samples, colored by class"))
        return section
    if task == "generation":
        return section
    if any({"psnr", _rate(results)} <= set(result.numbers) for result in results):
        section.plots.append(Plot(rate_distortion_plot(results), "PSNR over bits"))
    for one in worst:
        if one.samples:
            section.galleries[f"Worst of {one.model}"] = [
                Picture(
                    sample.picture,
                    f"{sample.name}: original and reconstruction",
                    f"{sample.name}: {sample.psnr:.2f} dB (left: original)",
                )
                for sample in one.samples
            ]
    section.appendices["The paper's figures"] = paper_table(kind, task == "reconstruction")
    return section
