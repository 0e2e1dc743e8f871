"""The script in examples/ runs on tiny random pipelines."""

import runpy
import sys
from pathlib import Path

import pytest
from PIL import Image

from .helpers import lightning_pipeline, token_pipeline

SCRIPT = Path(__file__).parents[2] / "examples/generate_images.py"


@pytest.mark.parametrize(("make", "side"), [(lightning_pipeline, 64), (token_pipeline, 48)])
def test_generate_images(make, side, tmp_path, monkeypatch, capsys):
    make().save_pretrained(tmp_path / "model")
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), str(tmp_path / "model"), str(tmp_path / "out.png")])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    assert f"red star, blue disk, star: 6 images of {side} x {side} pixels" in capsys.readouterr().out
    with Image.open(tmp_path / "out.png") as picture:
        assert picture.size == (3 * side, 2 * side)
