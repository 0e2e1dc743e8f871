"""Image files of any depth as 8-bit RGB."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from atoken.tokenizing.images import read_image, to_eight_bits

from ..processing.samples import photo, png16


def test_8_bits_stay_as_they_are(tmp_path):
    Image.fromarray(photo(20, 30)).save(tmp_path / "a.png")
    for media in (tmp_path / "a.png", str(tmp_path / "a.png"), (tmp_path / "a.png").read_bytes()):
        assert np.array_equal(read_image(media).permute(1, 2, 0), photo(20, 30))
    pixels = torch.from_numpy(photo(4, 5))
    assert to_eight_bits(pixels, "pixels") is pixels


def test_more_bits_are_rounded(tmp_path):
    deep = np.random.default_rng(0).integers(0, 65536, (20, 30, 3), dtype=np.uint16)
    deep[0, 0], deep[0, 1] = 0, 65535
    (tmp_path / "deep.png").write_bytes(png16(deep))
    floats = np.random.default_rng(0).random((20, 30), dtype=np.float32)
    Image.fromarray(floats).save(tmp_path / "floats.tif")
    exact = {"deep.png": deep / np.float64(65535), "floats.tif": floats[..., None].repeat(3, 2).astype(np.float64)}
    for name, values in exact.items():
        found = read_image(tmp_path / name)
        assert found.dtype == torch.uint8
        assert np.abs(found.permute(1, 2, 0).numpy() - values * 255).max() <= 0.5001


def test_transparency_is_white():
    file = io.BytesIO()
    Image.new("RGBA", (4, 4), (255, 0, 0, 51)).save(file, "PNG")  # a fifth
    assert read_image(file.getvalue())[:, 0, 0].tolist() == [255, 204, 204]


def test_files_that_cannot_be_read_are_named(tmp_path):
    Image.fromarray(np.full((4, 4), 3, dtype=np.float32)).save(tmp_path / "large.tif")
    with pytest.raises(ValueError, match=r"large.tif must be in \[0, 1\], got torch.float32 values from 3 to 3"):
        read_image(tmp_path / "large.tif")
    (tmp_path / "text.png").write_text("hello " * 50)
    with pytest.raises(ValueError, match="text.png is not an image"):
        read_image(tmp_path / "text.png")
    with pytest.raises(ValueError, match="row 3 is not an image"):
        read_image((tmp_path / "text.png").read_bytes(), "row 3")
    with pytest.raises(FileNotFoundError, match="media: there is no file .*none.png"):
        read_image(tmp_path / "none.png")
