"""Manifests of objects: both forms, captions from either place, and what is refused with its line."""

from pathlib import Path

import pytest

from atoken.training.data.object_manifest import ListedObject, fingerprint, read_manifest


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_both_forms_say_the_same(tmp_path):
    table = write(tmp_path / "a.csv", "name,path,caption", 'cup,x/cup.glb,"a cup, red"', ",x/ball.obj,")
    lines = write(
        tmp_path / "a.jsonl", '{"name": "cup", "path": "x/cup.glb", "caption": "a cup, red"}', '{"path": "x/ball.obj"}'
    )
    expected = [
        ListedObject("cup", tmp_path / "x/cup.glb", "a cup, red"),
        ListedObject("ball", tmp_path / "x/ball.obj", None),
    ]
    assert read_manifest(table) == read_manifest(lines) == expected
    assert read_manifest(table, root=Path("/elsewhere"))[0].path == Path("/elsewhere/x/cup.glb")


def test_captions_of_a_file_go_before_those_of_the_manifest(tmp_path):
    table = write(tmp_path / "a.csv", "path,caption", "cup.glb,old", "ball.glb,kept")
    captions = write(tmp_path / "cap3d.csv", 'cup,"new, and long"', "unknown,passed over")
    assert [each.caption for each in read_manifest(table, captions=captions)] == ["new, and long", "kept"]


def test_the_fingerprint_is_that_of_the_contents(tmp_path):
    a, b = write(tmp_path / "a.csv", "path", "x.glb"), write(tmp_path / "b.csv", "path", "x.glb")
    assert fingerprint(a, None) == fingerprint(b) != fingerprint(a, b)


@pytest.mark.parametrize(
    ("name", "lines", "says"),
    [
        ("a.csv", ["file", "x.glb"], "manifest must have a column path, got file"),
        ("a.csv", ["path"], "at least one object"),
        ("a.csv", ["name,path", "cup,"], "line 2: path must be the path of a mesh, got ''"),
        ("a.csv", ["name,path", "a.b,x.glb"], "line 2: name must be of letters, digits"),
        ("a.csv", ["path", "a/cup.glb", "b/cup.glb"], "line 3: names must be unique, got 'cup' again; give a column"),
        ("a.jsonl", ['{"path": "x.glb"}', "{"], "line 2: lines must be JSON, got"),
        ("a.jsonl", ["[1]"], "line 1: lines must be JSON objects"),
        ("a.txt", ["x.glb"], "manifest must be a .csv or .jsonl file"),
    ],
)
def test_what_is_refused(tmp_path, name, lines, says):
    with pytest.raises(ValueError, match=says):
        read_manifest(write(tmp_path / name, *lines))


def test_missing_files_and_torn_captions(tmp_path):
    with pytest.raises(FileNotFoundError, match="manifest must be a file that is there"):
        read_manifest(tmp_path / "none.csv")
    table = write(tmp_path / "a.csv", "path", "x.glb")
    with pytest.raises(FileNotFoundError, match="captions must be a file that is there"):
        read_manifest(table, captions=tmp_path / "none.csv")
    with pytest.raises(ValueError, match="line 1: captions must be two columns, name and caption, got 3"):
        read_manifest(table, captions=write(tmp_path / "c.csv", "a,b,c"))
