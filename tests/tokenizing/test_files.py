"""Folders that appear whole or not at all, also where several are written to one place at once."""

import pytest

from atoken.tokenizing.files import NewFolder


def write(path, content, **options):
    with NewFolder(path, **options) as new:
        (new / "content").write_text(content)


def test_a_folder_is_replaced_when_the_new_one_is_whole(tmp_path):
    path = tmp_path / "folder"
    write(path, "old")
    with pytest.raises(RuntimeError, match="stopped"), NewFolder(path) as new:
        (new / "content").write_text("half")
        raise RuntimeError("stopped")
    assert (path / "content").read_text() == "old"
    write(path, "new")
    assert (path / "content").read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_of_several_that_are_written_at_once_the_first_one_stays(tmp_path):
    path = tmp_path / "folder"
    with NewFolder(path, keep=True) as slow:
        (slow / "content").write_text("slow")
        write(path, "fast", keep=True)
        place = path.stat().st_ino
    assert path.stat().st_ino == place and (path / "content").read_text() == "fast"
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_moved_is_an_error_and_leaves_nothing(tmp_path):
    path = tmp_path / "folder"
    path.write_text("a file")
    with pytest.raises(OSError, match="folder"):
        write(path, "new", keep=True)
    assert path.read_text() == "a file" and list(tmp_path.iterdir()) == [path]
