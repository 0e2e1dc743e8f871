"""What a visitor reads when something is wrong."""

import warnings

import gradio
import pytest

from atoken.processing.media_warnings_atoken import MediaWarning
from atoken_app.web.answers import answered


def test_errors_of_files_name_the_file_and_not_its_place(tmp_path):
    path = str(tmp_path / "a.png")

    @answered
    def work(file):
        raise ValueError(f"file: {file!r} is not an image.\nConvert it.")

    with pytest.raises(gradio.Error) as caught:
        work(path)
    assert caught.value.message == "file: 'a.png' is not an image. Convert it."


def test_mistakes_of_ours_are_kept_for_whoever_runs_the_server(capsys):
    @answered
    def work():
        raise KeyError("a secret place")

    with pytest.raises(gradio.Error) as caught:
        work()
    assert "secret" not in caught.value.message and "not because of the file" in caught.value.message
    assert "a secret place" in capsys.readouterr().err


def test_warnings_of_readers_are_shown(monkeypatch):
    shown = []
    monkeypatch.setattr(gradio, "Warning", shown.append)

    @answered
    def work():
        warnings.warn("the profile is left out", MediaWarning, stacklevel=1)
        return 1

    assert work() == 1 and shown == ["the profile is left out"]
