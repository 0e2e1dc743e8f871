"""The paper's figures, against some typed here and against the paper's text where it is at hand."""

import re
from pathlib import Path

import pytest

from atoken.evaluation.paper_tables import paper_columns, paper_rows

PAPER = Path(__file__).parents[3] / "shared" / "paper" / "atoken-paper.txt"
TABLES = (3, 4, 5, 6, 7, 8, 9, 10)
LATER = {2: (4, 6), 11: (10, 6), 12: (6, 5), 13: (5, 6)}  # number -> rows and columns


@pytest.mark.parametrize("number", (*TABLES, *LATER, "figure 4", "figure 7"))
def test_every_row_fills_every_column(number):
    columns, rows = paper_columns(number), paper_rows(number)
    assert rows and all(len(row.values) == len(columns) for row in rows)
    keys = [(row.method, row.facts.get("resolution"), row.facts.get("type")) for row in rows]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("number", "method", "dataset", "metric", "value"),
    [
        (3, "AToken-So/C", "Toys4k", "accuracy", 90.9),
        (3, "SigLIP2-So/16", "MSR-VTT", "R@1", 41.9),
        (4, "AToken-So/C, stage 3", "ImageNet", "rFID", 0.209),
        (4, "SD3-VAE", "COCO", "LPIPS", 0.056),
        (5, "CLIP", "Flickr30k", "image to text R@1", 81.9),
        (6, "Wan2.2", "DAVIS", "rFVD", 12.65),
        (6, "AToken-So/D", "TokenBench", "PSNR", 33.12),
        (7, "PE-Core-L14", "MSVD", "video to text R@10", 99.4),
        (7, "VideoPrism-g", "MSR-VTT", "text to video R@10", None),
        (8, "Trellis-SLAT", "Toys4k", "LPIPS", 0.054),
        (9, "SlowFast-LLaVA-1.5-3B, AToken-So/C", "MathVista", "accuracy", 58.4),
        (9, "LLaVA-OV-0.5B, SigLIP", "OCRBench", "accuracy", None),
        (10, "SlowFast-LLaVA-1.5-7B, AToken-So/C", "LVBench", "accuracy", 44.8),
        (2, "Stage 2: Video Dynamics", "task ratio, %", "video reconstruction", 66.6),
        (2, "Stage 3: 3D Geometry", "training", "steps", 50_000),
        (11, "AToken-So/C, stage 3", "ImageNet 256x256", "gFID", 1.56),
        (11, "REPA", "ImageNet 256x256", "IS", 305.7),
        (12, "AToken-So/D, TokenBridge-L", "ImageNet 256x256", "gFID", 2.23),
        (12, "LFQ, MAGViT-V2", "ImageNet 256x256", "precision", None),
        (13, "Wan2.1", "VBench", "total %", 78.60),
        (13, "AToken-So/C, stage 2", "text to image", "GenEval %", 63.08),
        ("figure 4", "AToken, section 3.3", "ImageNet", "share of the covariance, %", 86.6),
        ("figure 7", "Base, section 4.5", "ImageNet", "rFID, stage 2", 0.483),
    ],
)
def test_some_figures(number, method, dataset, metric, value):
    columns = [(column.dataset, column.metric) for column in paper_columns(number)]
    (row,) = (row for row in paper_rows(number) if row.method == method)
    assert row.values[columns.index((dataset, metric))] == value


@pytest.mark.skipif(not PAPER.is_file(), reason="the paper's text is not here")
@pytest.mark.parametrize("number", TABLES)
def test_figures_are_those_of_the_text(number):
    text = PAPER.read_text(encoding="utf-8")
    table = text[re.search(rf"^Table {number}:", text, re.MULTILINE).end() :]
    lines = [re.sub(r"</?(b|sub)>", "", line) for line in table.split("\n\n")[1].splitlines()]
    for row in paper_rows(number):
        name = row.method.split(", stage ")[-1].split("-")[0].removeprefix("AToken")
        expected = [f"{value:.10g}" for value in row.values if value is not None]
        cells = [[f"{float(cell):.10g}" for cell in re.findall(r"(?<=\t)\d+\.\d+(?=\t|$)", line)] for line in lines]
        found = [line for line, numbers in zip(lines, cells, strict=True) if numbers == expected]
        assert found and any(name.lower() in line.lower() for line in found), (row, expected)


@pytest.mark.parametrize(("number", "size"), LATER.items())
def test_later_tables_have_as_many_rows_and_columns(number, size):
    assert (len(paper_rows(number)), len(paper_columns(number))) == size


@pytest.mark.skipif(not PAPER.is_file(), reason="the paper's text is not here")
@pytest.mark.parametrize("number", LATER)
def test_figures_of_later_tables_are_those_of_the_text_in_its_order(number):
    text = PAPER.read_text(encoding="utf-8")
    table = text[re.search(rf"^Table {number}:", text, re.MULTILINE).end() :].split("\n\n")[1]
    # Cells without tags, percent signs and k for thousands; numbers among them, from the row's own columns on.
    lines = [re.sub(r"</?\w+>|†", "", line).split("\t") for line in table.splitlines()]
    skipped = {2: 4, 11: 2, 12: 3, 13: 4}[number]  # columns that are facts here
    found = [[_number(cell) for cell in line[skipped:]] for line in lines]
    expected = [list(row.values) for row in paper_rows(number)]
    assert [row for row in found if any(value is not None for value in row)] == expected
    names = [line[0] for line in lines]
    for row in paper_rows(number):
        assert any(
            row.method.split(",")[-1 if "stage" in row.method else 0].strip().lower() in n.lower() for n in names
        )


def _number(cell: str) -> float | None:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(k|%)?", cell.strip())
    return None if match is None else float(match[1]) * (1000 if match[2] == "k" else 1)


@pytest.mark.skipif(not PAPER.is_file(), reason="the paper's text is not here")
@pytest.mark.parametrize("number", ["figure 4", "figure 7"])
def test_figures_of_the_text_are_in_it(number):
    text = PAPER.read_text(encoding="utf-8")
    for value in (value for row in paper_rows(number) for value in row.values if value is not None):
        assert re.search(rf"(?<![\d.]){re.escape(f'{value:g}')}(?!\d)", text), value


def test_other_tables_are_not_here():
    with pytest.raises(ValueError, match="number"):
        paper_rows(1)
