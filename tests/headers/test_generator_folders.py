"""Folders of generators, found by path and by embedded name."""

import pytest

from atoken_headers import model_folders
from atoken_headers.generator_folders import INDEX, find_generator, is_generator_folder, local_generator


@pytest.fixture
def checkpoints(tmp_path, monkeypatch):
    """An embedded generator, and an embedded model that is none."""
    folder = tmp_path / "checkpoints"
    for name, file in {"tiny": INDEX, "model": "config.json"}.items():
        (folder / name).mkdir(parents=True)
        (folder / name / file).write_text("{}")
    monkeypatch.setattr(model_folders, "CHECKPOINTS", folder)
    return folder


def test_by_name_and_by_path(checkpoints, monkeypatch):
    assert find_generator("tiny") == (checkpoints / "tiny", "tiny")
    assert find_generator(str(checkpoints / "tiny")) == (checkpoints / "tiny", "tiny")
    assert local_generator("tiny") == local_generator(str(checkpoints / "tiny")) == checkpoints / "tiny"
    assert is_generator_folder(checkpoints / "tiny") and not is_generator_folder(checkpoints / "model")


def test_what_is_none(checkpoints):
    with pytest.raises(FileNotFoundError, match=f"model must be a folder with a {INDEX}, got .*model"):
        find_generator("model")
    with pytest.raises(FileNotFoundError, match="got 'none'; there is none of that name"):
        find_generator("none")
    assert local_generator("model") is None and local_generator("owner/none") is None
