"""Parts on disk: whole or not at all, and only of the same inputs."""

import json

import pytest

from atoken.evaluation.paper.parts import INDEX, Part, read_part, remove_unfinished, write_part
from atoken.pages.paper import Shown, TitledTable
from atoken.pages.report import Table

PART = Part(
    "two <things>",
    [TitledTable("ours", Table(["model", "PSNR"], [["a", "1.0"]]))],
    [Shown(b"\x89PNG first", "row", "a picture", "above"), Shown(b"\x89PNG second", "row", "another", "")],
    ["count: 2"],
    ["something"],
)


def test_a_part_comes_back_as_it_was(tmp_path):
    write_part(tmp_path / "table-4", PART, "key")
    assert read_part(tmp_path / "table-4", "key") == PART == read_part(tmp_path / "table-4")
    assert [path.name for path in tmp_path.iterdir()] == ["table-4"]


def test_a_part_of_other_inputs_is_not_taken(tmp_path):
    write_part(tmp_path / "table-4", PART, "key")
    assert read_part(tmp_path / "table-4", "another") is None
    write_part(tmp_path / "table-4", PART, "another")
    assert read_part(tmp_path / "table-4", "another") == PART


def _cut(folder):
    path = folder / INDEX
    path.write_bytes(path.read_bytes()[:40])


@pytest.mark.parametrize(
    "damage",
    [
        _cut,
        lambda folder: (folder / INDEX).write_text("[]"),
        lambda folder: (folder / INDEX).write_text(json.dumps({"key": "key"})),
        lambda folder: (folder / "1.bin").unlink(),
    ],
)
def test_half_of_a_part_is_none(tmp_path, damage):
    write_part(tmp_path / "part", PART, "key")
    damage(tmp_path / "part")
    assert read_part(tmp_path / "part", "key") is None


def test_what_fails_while_it_is_written_leaves_the_old_part(tmp_path):
    write_part(tmp_path / "part", PART, "key")
    broken = Part("new", shown=[Shown("no bytes", "", "", "")])  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError):
        write_part(tmp_path / "part", broken, "new")
    assert read_part(tmp_path / "part", "key") == PART
    assert [path.name for path in tmp_path.iterdir()] == ["part"]


def test_folders_of_a_killed_run_are_removed(tmp_path):
    write_part(tmp_path / "part", PART, "key")
    (tmp_path / ".part.12345678").mkdir()
    (tmp_path / ".part.12345678" / "0.bin").write_bytes(b"half")
    remove_unfinished(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["part"]
