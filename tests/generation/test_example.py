"""The scripts in examples/ run on tiny random pipelines."""

import runpy
import sys
from pathlib import Path

import pytest
from PIL import Image

from atoken.tokenizing.clips import read_frames

from .helpers import lightning_pipeline, token_pipeline
from .media_helpers import media_pipeline

EXAMPLES = Path(__file__).parents[2] / "examples"
SCRIPT = EXAMPLES / "generate_images.py"


@pytest.mark.parametrize(("make", "side"), [(lightning_pipeline, 64), (token_pipeline, 48)])
def test_generate_images(make, side, tmp_path, monkeypatch, capsys):
    make().save_pretrained(tmp_path / "model")
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), str(tmp_path / "model"), str(tmp_path / "out.png")])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    assert f"red star, blue disk, star: 6 images of {side} x {side} pixels" in capsys.readouterr().out
    with Image.open(tmp_path / "out.png") as picture:
        assert picture.size == (3 * side, 2 * side)


def test_text_to_video(tmp_path, monkeypatch, capsys):
    media_pipeline().save_pretrained(tmp_path / "model")
    script = EXAMPLES / "text_to_video.py"
    monkeypatch.setattr(sys, "argv", [str(script), str(tmp_path / "model"), str(tmp_path / "out"), "a star", "a ring"])
    runpy.run_path(str(script), run_name="__main__")
    assert "2 images in" in capsys.readouterr().out
    with Image.open(tmp_path / "out.png") as picture:
        assert picture.size == (2 * 48, 32)
    assert read_frames(tmp_path / "out.mp4", lambda total, fps: range(total)).shape == (16, 3, 32, 2 * 48)
