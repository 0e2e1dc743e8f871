"""The checkpoints in the source tree: they load, do what their records say, and the quickstart runs on them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from atoken import AtokenModel
from atoken.processing import AtokenProcessor

ROOT = Path(__file__).resolve().parent.parent
CHECKPOINTS = {"atoken-tiny": None, "atoken-tiny-d": 8}  # codes of a token


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_files_are_small_and_recorded(name):
    folder = ROOT / "checkpoints" / name
    assert sum(path.stat().st_size for path in folder.iterdir()) < 20e6
    record = json.loads((folder / "training.json").read_text())
    assert {"command", "data", "seed", "steps", "curve", "held_out", "pca_48"} <= record.keys()
    model = AtokenModel.from_pretrained(folder)
    assert model.dtype == torch.bfloat16
    assert len(model.config.latents_mean) == len(model.config.latents_std) == 48


@pytest.mark.parametrize(("name", "least"), [("atoken-tiny", 32.8), ("atoken-tiny-d", 29.9)])
def test_a_held_out_photo_comes_back(name, least):
    folder = ROOT / "checkpoints" / name
    model = AtokenModel.from_pretrained(folder, dtype=torch.float32).eval()
    processor = AtokenProcessor.from_pretrained(folder)
    inputs = processor(images=[ROOT / "examples/media/cat.jpg"])
    with torch.no_grad():
        encoded = model.encode(inputs.pixel_values, inputs.coords, inputs.cu_seqlens)
        packing = (inputs.coords, inputs.cu_seqlens)
        if CHECKPOINTS[name]:
            assert encoded.codes.shape == (encoded.latents.shape[0], CHECKPOINTS[name])
            decoded = model.decode(codes=encoded.codes, coords=packing[0], cu_seqlens=packing[1])
        else:
            assert encoded.codes is None
            decoded = model.decode(encoded.latents, *packing)
    (image,) = processor.post_process(decoded.pixel_values, *packing, inputs.media_sizes)
    (original,) = processor.post_process(inputs.pixel_values, *packing, inputs.media_sizes)
    assert image.shape == (3, 300, 451)
    assert float(-10 * torch.log10((image - original).square().mean())) > least


def test_quickstart_runs():
    result = subprocess.run(
        [sys.executable, str(ROOT / "examples/quickstart.py")], capture_output=True, text=True, cwd=ROOT
    )
    assert result.returncode == 0, result.stderr
    assert "photo back: (3, 300, 451)  clip back: (33, 3, 240, 320)" in result.stdout
