"""The paper's figures, against some typed here and against the paper's text where it is at hand."""

import re
from pathlib import Path

import pytest

from atoken.evaluation.paper_tables import paper_columns, paper_rows

PAPER = Path(__file__).parents[3] / "shared" / "paper" / "atoken-paper.txt"
TABLES = (3, 4, 5, 6, 7, 8, 9, 10)


@pytest.mark.parametrize("number", TABLES)
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


def test_other_tables_are_not_here():
    with pytest.raises(ValueError, match="number"):
        paper_rows(2)
