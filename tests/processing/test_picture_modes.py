"""Orientations, palettes and kinds of color, in every format that has them."""

import io

import numpy as np
import pytest
from PIL import Image

from atoken.processing.media_reading_atoken import open_image
from atoken.processing.pil_decoding_atoken import pil_to_rgb

from .samples import photo

# What is shown of (H, W, C) as it is stored, by the EXIF standard.
SHOWN = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).transpose(1, 0, 2),
    8: lambda stored: np.rot90(stored, 1),
}
# Six blocks of colors, which lossy formats keep.
BLOCKS = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[255, 255, 0], [0, 255, 255], [40, 80, 120]]], np.uint8)


def opened(data: bytes, tmp_path, name: str) -> np.ndarray:
    (tmp_path / name).write_bytes(data)
    return open_image(tmp_path / name).permute(1, 2, 0).numpy()


def saved(image: Image.Image, picture_format: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, picture_format, **options)
    return file.getvalue()


@pytest.mark.parametrize("orientation", SHOWN)
@pytest.mark.parametrize("picture_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_orientation_in_six_formats(tmp_path, picture_format, orientation):
    stored = BLOCKS.repeat(16, 0).repeat(16, 1)
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}, "AVIF": {"quality": 100}}
    exif = Image.Exif()
    exif[0x0112] = orientation
    if picture_format == "HEIF":
        heif = pytest.importorskip("pillow_heif")
        file = io.BytesIO()
        picture = heif.from_pillow(Image.fromarray(stored))
        picture.save(file, quality=100, chroma=444, exif=exif.tobytes())
        data = file.getvalue()
    else:
        data = saved(Image.fromarray(stored), picture_format, exif=exif, **options.get(picture_format, {}))
    got = opened(data, tmp_path, f"a.{picture_format.lower()}")
    expected = SHOWN[orientation](stored)
    assert got.shape == expected.shape
    # Between the blocks lossy formats ring.
    assert np.abs(got[8::16, 8::16].astype(int) - expected[8::16, 8::16]).max() <= 12


PALETTE = np.random.default_rng(5).integers(0, 256, (256, 3), dtype=np.uint8)


@pytest.mark.parametrize("picture_format", ["PNG", "GIF", "TIFF", "BMP", "PCX", "TGA"])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palettes(tmp_path, picture_format, bits):
    if bits == 2 and picture_format not in ("PNG", "GIF"):
        pytest.skip("there is none of this kind")
    indices = np.random.default_rng(bits).integers(0, 1 << bits, (9, 13), dtype=np.uint8)
    image = Image.frombytes("P", (13, 9), indices.tobytes())
    image.putpalette(PALETTE[: 1 << bits].tobytes())
    data = saved(image, picture_format, **({"bits": bits} if picture_format == "PNG" else {}))
    assert np.array_equal(opened(data, tmp_path, "a.bin"), PALETTE[indices])


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("kind", ["one entry", "shares"])
def test_transparent_palettes(tmp_path, bits, kind):
    count = 1 << bits
    indices = np.random.default_rng(bits).integers(0, count, (9, 13), dtype=np.uint8)
    image = Image.frombytes("P", (13, 9), indices.tobytes())
    image.putpalette(PALETTE[:count].tobytes())
    shares = np.full(count, 255)
    if kind == "shares":
        shares = np.random.default_rng(9).integers(0, 256, count)
    shares[count // 2] = 0
    transparency = count // 2 if kind == "one entry" else bytes(shares.tolist())
    got = opened(saved(image, "PNG", transparency=transparency, bits=bits), tmp_path, "a.png")
    share = shares[indices][..., None] / 255
    assert np.abs(got - (PALETTE[indices] * share + 255 * (1 - share))).max() <= 0.5001


@pytest.mark.parametrize("picture_format", ["PNG", "TIFF", "WEBP", "JPEG2000"])
@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha_on_white(tmp_path, picture_format, mode):
    pixels = np.concatenate([photo(9, 13), photo(9, 13, seed=1)[..., :1]], axis=2)
    if mode == "LA":
        pixels[..., 1:3] = pixels[..., :1]
    image = Image.fromarray(pixels).convert(mode)
    options = {"lossless": True, "exact": True} if picture_format == "WEBP" else {}
    got = opened(saved(image, picture_format, **options), tmp_path, "a.bin")
    share = pixels[..., 3:] / 255
    assert np.abs(got - (pixels[..., :3] * share + 255 * (1 - share))).max() <= 0.5001


@pytest.mark.parametrize("picture_format", ["TIFF", "JPEG"])
def test_ink(tmp_path, picture_format):
    """Pillow writes CMYK into JPEG as Adobe does, upside down, and so says in the file."""
    ink = np.array(
        [[0, 0, 0, 0], [255, 0, 0, 0], [0, 255, 0, 0], [0, 0, 255, 0], [0, 0, 0, 255], [100, 50, 0, 80]], np.uint8
    )
    stored = ink[:, None, None].repeat(16, 1).repeat(16, 2).transpose(1, 0, 2, 3).reshape(16, -1, 4)
    image = Image.frombytes("CMYK", (96, 16), stored.tobytes())
    options = {"quality": 100, "subsampling": 0} if picture_format == "JPEG" else {}
    got = opened(saved(image, picture_format, **options), tmp_path, "a.bin")[8, 8::16]
    light = 255 - ink.astype(np.float64)
    assert np.abs(got - light[:, :3] * light[:, 3:] / 255).max() <= (4 if picture_format == "JPEG" else 1)


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "YCbCr", "LAB", "I;16", "F"])
def test_tiff_of_any_mode_and_compression(tmp_path, mode):
    pixels = photo(9, 13)
    image = Image.fromarray(pixels[..., 0] if mode in ("1", "L", "I;16", "F") else pixels)
    if mode == "I;16":
        image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    elif mode == "F":
        image = Image.fromarray(pixels[..., 0].astype(np.float32) / 255)
    elif mode != "LAB":
        image = image.convert(mode)
    else:
        image = Image.frombytes("LAB", (13, 9), pixels.tobytes())
    for compression in (None, "tiff_lzw", "packbits", "tiff_adobe_deflate"):
        data = saved(image, "TIFF", compression=compression)
        if mode == "YCbCr" and compression is None:
            # Pillow reads back what it wrote from version 13 on.
            continue
        if mode == "LAB":
            with pytest.raises(ValueError, match=r"a\.tif.*mode LAB"):
                opened(data, tmp_path, "a.tif")
            continue
        got = opened(data, tmp_path, "a.tif") / (65535 if mode == "I;16" else 1 if mode == "F" else 255)
        expected = np.asarray(image.convert("RGB")) if mode in ("1", "L", "RGB", "YCbCr") else pixels[..., :1]
        # The matrix of YCbCr is rounded in other places.
        assert np.abs(got - expected / 255).max() < (1.01 / 255 if mode == "YCbCr" else 1e-6)


def test_bitmap_of_five_and_six_bits(tmp_path):
    """Two bytes for a pixel are no 16 bits per channel."""
    pixels = np.array([[0xF800, 0x07E0], [0x001F, 0xFFFF]], "<u2")
    masks = np.array([0xF800, 0x07E0, 0x001F], "<u4").tobytes()
    header = np.array([40, 2, 2], "<u4").tobytes() + np.array([1, 16], "<u2").tobytes()
    header += np.array([3, 8, 0, 0, 0, 0], "<u4").tobytes() + masks
    data = b"BM" + np.array([14 + len(header) + 8, 0, 14 + len(header)], "<u4").tobytes() + header
    got = opened(data + pixels[::-1].tobytes(), tmp_path, "a.bmp")
    assert got.tolist() == [[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]]
    with Image.open(tmp_path / "a.bmp") as image:
        assert np.array_equal(pil_to_rgb(image, "images").permute(1, 2, 0), got)


def test_icons_are_their_largest_picture(tmp_path):
    pixels = photo(64, 64)
    Image.fromarray(pixels).save(tmp_path / "a.ico", sizes=[(16, 16), (64, 64), (32, 32)])
    assert np.array_equal(open_image(tmp_path / "a.ico").permute(1, 2, 0), pixels)
