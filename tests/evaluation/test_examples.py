"""The configurations that are shipped, and the table that goes into the README."""

from pathlib import Path

import pytest

from atoken.evaluation.configuration import EvaluationConfig
from atoken.evaluation.paper_tables import paper_rows
from atoken.evaluation.readme_table import END, START, insert
from atoken.evaluation.results import Result, Results

EXAMPLES = Path(__file__).parents[2] / "examples" / "evaluation"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_names_and_options_are_right(path):
    config = EvaluationConfig.read(path)
    assert config.sets and config.models


@pytest.mark.parametrize("number", range(3, 9))
def test_every_row_of_the_papers_tables_has_an_entry(number):
    lines = (EXAMPLES / "paper.yaml").read_text(encoding="utf-8").splitlines()
    entries = [line.rpartition("     # ")[2].split("; ") for line in lines if "{adapter: " in line]
    named = {name for names in entries for name in names}
    assert {row.method for row in paper_rows(number)} <= named


RESULTS = Results(
    "Table",
    [
        Result("a", "photos", "image", "reconstruction", {"psnr": 27.528, "ssim": 0.8, "count": 24}, {}),
        Result("b", "photos", "image", "reconstruction", {"psnr": 30.0, "count": 24}, {}),
        Result("a", "clips", "video", "reconstruction", {"psnr": 32.0, "count": 8}, {}),
    ],
)


def test_tables_replace_what_stood_there():
    text = f"before\n\n{START}\nold\n{END}\nafter\n"
    found = insert(text, RESULTS)
    assert "| a | 27.53 | 0.8000 |\n| b | 30.00 |  |" in found and "**Clips** (8)" in found and "old" not in found
    assert found.startswith("before\n") and found.endswith("after\n") and insert(found, RESULTS) == found


def test_a_text_without_a_place_is_refused():
    with pytest.raises(ValueError, match="once each"):
        insert("nothing here", RESULTS)
