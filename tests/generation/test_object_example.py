"""The script in examples/ makes an object with a tiny random pipeline."""

import runpy
import sys
from pathlib import Path

from PIL import Image

from atoken.gaussian_files_atoken import load_ply

from .object_helpers import object_pipeline, picture

SCRIPT = Path(__file__).parents[2] / "examples/image_to_object.py"


def test_image_to_object(tmp_path, monkeypatch, capsys):
    object_pipeline().save_pretrained(tmp_path / "model")
    picture().save(tmp_path / "shot.png")
    arguments = [str(tmp_path / "shot.png"), str(tmp_path / "model"), str(tmp_path / "made.ply")]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *arguments])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    gaussians = load_ply(tmp_path / "made.ply")
    assert f"{len(gaussians)} Gaussians in {len(gaussians) // 2} voxels" in capsys.readouterr().out
    with Image.open(tmp_path / "made.png") as sheet:
        assert sheet.size == (512, 128)
