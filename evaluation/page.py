"""Results as a page (HTML and Markdown): tables beside the paper's figures, rate and distortion, the worst samples."""

import base64
import html
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import torch
from PIL import Image

from .paper_tables import paper_columns, paper_rows
from .projection import scatter_plot
from .reconstruction import round_trip

if TYPE_CHECKING:
    from .runner import Task

WORST, WORST_FOLDER = 4, "worst"
MARKERS = "osD^v"
LONGEST = 384  # pixels of a shown picture's longer side
# number -> (heading, decimals, factor); in the order of columns
COLUMNS = {
    "psnr": ("PSNR ↑", 2, 1),
    "ssim": ("SSIM ↑", 4, 1),
    "lpips": ("LPIPS ↓", 4, 1),
    "random_gram": ("Gram distance, random VGG ↓", 4, 1),
    "frechet": ("Fréchet ↓ (mean + covariance)", 3, 1),
    "bits_per_pixel": ("bits/pixel", 3, 1),
    "bits": ("kbit", 1, 1e-3),
    "inception_score": ("inception score ↑", 2, 1),
    "precision_recall": ("precision, recall ↑", 3, 1),
    "codebook": ("codebook use, perplexity", 3, 1),
    "top1": ("top-1 % ↑", 2, 100),
    "top5": ("top-5 % ↑", 2, 100),
    "neighbor_accuracy": ("nearest neighbours % ↑", 2, 100),
    "chance": ("chance %", 2, 100),
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
STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:1rem 0}td,th{padding:.25rem .7rem;border-bottom:1px solid #ddd;text-align:right}
img{max-width:100%}
td:first-child,th:first-child{text-align:left}figure{display:inline-block;margin:.5rem}
figcaption{font-size:.85rem;color:#555}.wide{overflow-x:auto}details{margin:1rem 0}"""


def _text(name: str, value: Any) -> str:
    if name == "frechet":
        return f"{value['total']:.3f} ({value['mean']:.3f} + {value['covariance']:.3f})"
    if name == "inception_score":
        return f"{value['mean']:.2f} ± {value['std']:.2f}"
    if name == "precision_recall":
        return f"{value['precision']:.3f}, {value['recall']:.3f}"
    if name == "codebook":
        return f"{value['usage']:.3f}, {value['perplexity']:.1f}"
    _, decimals, factor = COLUMNS.get(name, (name, 3, 1))
    return f"{value * factor:,.{decimals}f}"


def set_table(results: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Heading and rows of the results on one set."""
    found = {name for result in results for name in result["numbers"]}
    names = [name for name in COLUMNS if name in found]
    extra = sorted(name for name in found - set(COLUMNS) if name.startswith(("text_to", "sample_to", "chance_at")))
    names = [*names[:-1], *extra, *names[-1:]]
    heading = ["model", *(COLUMNS[name][0] if name in COLUMNS else name.replace("_", " ") for name in names)]
    rows = []
    for result in results:
        numbers = result["numbers"]
        cells = [_text(name, numbers[name]) if name in numbers else "" for name in names]
        rows.append([result["model"], *cells])
    return heading, rows


def paper_table(kind: str, reconstruction: bool = True) -> tuple[list[str], list[list[str]]]:
    """The paper's own figures for a kind of sample and task (Tables 3 to 8)."""
    number = PAPER[kind, reconstruction]
    columns = paper_columns(number)
    heading = [f"paper, Table {number}", *(f"{column.dataset} {column.metric}" for column in columns)]
    rows = [
        [row.method, *("" if value is None else f"{value:g}" for value in row.values)] for row in paper_rows(number)
    ]
    return heading, rows


def markdown_table(heading: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in (heading, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(heading), *lines[1:]])


def _html_table(heading: list[str], rows: list[list[str]]) -> str:
    def line(cells: list[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    body = "".join(line(row, "td") for row in rows)
    return f'<div class="wide"><table>{line(heading, "th")}{body}</table></div>'


def _embedded(data: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def rate_distortion_plot(results: list[dict[str, Any]]) -> bytes:
    """PSNR over stored bits as PNG; bits per pixel where there are pixels, else bits of an object."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('plots need matplotlib: pip install "atoken[evaluation]"') from error
    rate = "bits_per_pixel" if "bits_per_pixel" in results[0]["numbers"] else "bits"
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    shown = [result for result in results if "psnr" in result["numbers"]]
    for index, result in enumerate(shown):
        numbers, marker = result["numbers"], MARKERS[index // 10 % len(MARKERS)]
        axes.plot(numbers[rate], numbers["psnr"], marker, label=result["model"])
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


def _worst_figures(task: "Task", folder: Path) -> str:
    """Originals beside results of the samples of lowest PSNR, as files; of clips and objects the middle picture."""
    records = [record for chunk, _ in task.chunks for record in chunk]
    ranked = sorted((record["psnr"], index) for index, record in enumerate(records) if record.get("psnr") is not None)
    figures = []
    folder = folder / task.entry.name / task.set_entry.name
    folder.mkdir(parents=True, exist_ok=True)
    for rank, (value, index) in enumerate(ranked[:WORST]):
        sample = task.samples.samples[index]
        with torch.inference_mode():
            original, result, _ = round_trip(task.model, sample.load(), task.samples.kind)
        middle = len(original) // 2
        pair = torch.cat([original[middle], result[middle]], dim=-1).permute(1, 2, 0).numpy()
        picture = Image.fromarray(pair)
        picture.thumbnail((2 * LONGEST, LONGEST))
        path = folder / f"{rank}.png"
        picture.save(path)
        name, source = html.escape(sample.name), quote("/".join(path.parts[-4:]))
        figures.append(
            f'<figure><img loading="lazy" alt="{name}: original and reconstruction" src="{source}">'
            f"<figcaption>{name}: {value:.2f} dB (left: original)</figcaption></figure>"
        )
    return "".join(figures)


def _pictures(results: list[dict[str, Any]], tasks: list["Task"], output: Path) -> list[str]:
    """What there is to look at of a set's results."""
    if results[0]["task"] == "projection":
        plot = _embedded(scatter_plot(results))
        return [f'<img alt="t-SNE of samples, coloured by class" src="{plot}">']
    if not any("psnr" in one["numbers"] for one in results):
        return []
    parts = [f'<img alt="PSNR over bits" src="{_embedded(rate_distortion_plot(results))}">']
    for task in tasks:
        caption = f"<summary>Worst of {html.escape(task.entry.name)}</summary>"
        parts.append(f"<details>{caption}{_worst_figures(task, output / WORST_FOLDER)}</details>")
    return parts


def write_report(results: dict[str, Any], tasks: list["Task"], output: Path) -> None:
    """Writes results.md, index.html and the pictures of its folder `worst` into `output`; nothing is fetched."""
    title = results["title"]
    pages, texts = [f"<h1>{html.escape(title)}</h1>"], [f"# {title}\n"]
    for name in dict.fromkeys(result["set"] for result in results["results"]):
        chosen = [result for result in results["results"] if result["set"] == name]
        facts = "; ".join(f"{key}: {value}" for key, value in chosen[0]["protocol"]["set"]["protocol"].items())
        table = set_table(chosen)
        texts.append(f"## {name}\n\n{markdown_table(*table)}\n\n{facts}\n")
        pages.append(f"<h2>{html.escape(name)}</h2>{_html_table(*table)}<p>{html.escape(facts)}</p>")
        pages += _pictures(chosen, [task for task in tasks if task.set_entry.name == name], output)
        kind, task = chosen[0]["kind"], chosen[0]["task"]
        if task != "projection":
            paper = paper_table(kind, task == "reconstruction")
            texts.append(markdown_table(*paper) + "\n")
            pages.append(f"<details><summary>The paper's figures</summary>{_html_table(*paper)}</details>")
    document = "".join(pages)
    _write(output / "results.md", "\n".join(texts))
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{html.escape(title)}</title>'
    )
    _write(output / "index.html", f"<!doctype html><html lang=en>{head}<style>{STYLE}</style>{document}</html>")


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
