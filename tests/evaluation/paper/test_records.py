"""What is read and not measured: stage files, training records, the record of the ablation, embeddings by stage."""

import json
from pathlib import Path

import pytest
import torch
import yaml

from atoken.evaluation.paper import curriculum_table, stage_figures
from atoken.evaluation.paper.embedding_figure import stage_results
from atoken.evaluation.paper.loss_figure import shares_table
from atoken.evaluation.paper.parts import MissingInput
from atoken.evaluation.paper.stage_records import RECORD, first_run, read_record, stage_table
from atoken.evaluation.paper.workspace import Workspace
from atoken.evaluation.paper_tables import paper_rows

from .helpers import FEW

ROOT = Path(__file__).resolve().parents[3]


def test_the_stage_files_of_so400m_are_the_papers_table(tmp_path):
    tiny, paper_size = curriculum_table.make(Workspace(tmp_path, tmp_path, FEW)).tables
    for row, expected in zip(paper_size.table.rows, paper_rows(2), strict=True):
        # Ratios of 22.2, 11.1 and 66.6 are of a whole, too: they add up to 99.9.
        shares = [float(cell) if cell else None for cell in row[5:10]]
        assert shares == [None if value is None else pytest.approx(value, abs=0.11) for value in expected.values[:5]]
        assert int(row[10].replace(",", "")) == expected.values[5]
        assert row[1] == "{} to {}".format(*expected.facts["image_resolution"])
    steps = [
        yaml.safe_load((ROOT / f"training/recipes/tiny/stages/tiny-{i}.yaml").read_text())["steps"] for i in range(1, 5)
    ]
    assert [int(row[10].replace(",", "")) for row in tiny.table.rows] == steps


def test_a_clone_without_stage_files_says_so(tmp_path):
    with pytest.raises(MissingInput, match="tiny-1.yaml is not here"):
        curriculum_table.make(Workspace(tmp_path, tmp_path, FEW, tmp_path))
    assert stage_table(Workspace(tmp_path, tmp_path, FEW, tmp_path), "photos") == []


def record(folder: Path, name: str, *psnr: float, before: dict | None = None) -> dict:
    values = {"protocol": f"how {name} was measured", "stages": {}}
    for stage, value in enumerate(psnr, start=1):
        values["stages"][str(stage)] = {"photos 256/psnr": value, "image shape/top1": 0.5, "photos 256/count": 24.0}
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"stages": {"3": {}}, "before": values}))
    return values


def test_two_sizes_by_stage(tmp_path):
    space = Workspace(tmp_path, tmp_path, FEW, tmp_path)
    record(tmp_path, RECORD, 25.0, 26.5, 27.25)
    with pytest.raises(MissingInput, match="half-size.json is not here"):
        stage_figures.make(space)
    record(tmp_path, stage_figures.HALF, 24.0, 23.5)
    made = stage_figures.make(space)
    rows = {table.title: table.table.rows for table in made.tables}
    assert [row[:2] for row in rows["tiny, photos"]] == [
        ["stage 1", "25.00"],
        ["stage 2", "26.50"],
        ["stage 3", "27.25"],
    ]
    assert [row[:2] for row in rows["half size, photos"]] == [["stage 1", "24.00"], ["stage 2", "23.50"]]
    assert made.shown[0].data.startswith(b"\x89PNG") and "how docs/curriculum" in made.protocol[1]


def test_the_numbers_of_a_run_are_a_record_too(tmp_path):
    path = tmp_path / "record.json"
    path.write_text(json.dumps({"1": {"photos 256/psnr": 24.0}, "2": {}}))
    assert first_run(read_record(path))["stages"] == {"1": {"photos 256/psnr": 24.0}, "2": {}}


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"stages": 3}', '{"stages": {"1": 2.0}}'])
def test_a_damaged_record_is_missing(tmp_path, text):
    record(tmp_path, RECORD, 25.0)
    (tmp_path / RECORD).write_text(text)
    with pytest.raises(MissingInput, match="must be a record"):
        stage_figures.make(Workspace(tmp_path, tmp_path, FEW, tmp_path))


def test_embeddings_by_stage(tmp_path):
    labels = torch.arange(40) % 2
    clusters = torch.eye(4)[labels] + 0.01 * torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
    path = tmp_path / "stage-embeddings.json"
    path.write_text(json.dumps({"stage-1": {"labels": labels.tolist(), "embeddings": clusters.tolist()}}))
    (found,) = stage_results(path)
    assert found.model == "stage-1" and found.numbers["neighbor_accuracy"] == 1.0 and found.numbers["chance"] == 0.5
    assert len(found.numbers["tsne"]["points"]) == 40
    path.write_text(json.dumps({"stage-1": {"labels": [0, 1], "embeddings": [[1.0]]}}))
    with pytest.raises(MissingInput, match="as many"):
        stage_results(path)


def test_shares_of_a_distance():
    table = shares_table({"a": {"total": 8.0, "mean": 2.0, "covariance": 6.0}})
    assert table.rows == [["a", "25.0", "75.0"]]
