"""Text files of recipes, which appear whole or not at all."""

import pytest

from atoken.processing.atomic_files_atoken import atomic_file
from atoken.training.recipes.text_files import write_text


def test_a_text_replaces_what_was_there(tmp_path):
    for text in ("first", "größer"):
        write_text(tmp_path / "a.json", text)
        assert (tmp_path / "a.json").read_text(encoding="utf-8") == text
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_what_fails_leaves_the_old_file_alone(tmp_path):
    write_text(tmp_path / "a.json", "old")

    def fail():
        with atomic_file(tmp_path / "a.json") as temporary:
            temporary.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert (tmp_path / "a.json").read_text() == "old" and len(list(tmp_path.iterdir())) == 1
