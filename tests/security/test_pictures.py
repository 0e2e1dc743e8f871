"""Pictures that are bombs or programs: each is refused with few bytes of memory taken, and nothing runs."""

import io
import struct
import urllib.request
import zlib

import numpy as np
import pytest
from PIL import Image

from atoken.processing.media_reading_atoken import download_image, open_image
from atoken.processing.media_suffixes_atoken import media_kind
from atoken.processing.mesh_textures_atoken import texture_pixels

from . import picture_attacks as attacks
from .memory import memory_below

PACKED = zlib.compress(bytes(2**26))
TOO_MANY = r"a\.\w+'?:.* pixels.*If you trust the file, set PIL\.Image\.MAX_IMAGE_PIXELS"
# The file's name, its contents, and a pattern for the message.
BOMBS = {
    "size of a PNG": ("a.png", lambda: attacks.png(60_000, 60_000), TOO_MANY),
    "size of a BMP": ("a.bmp", attacks.bmp, TOO_MANY),
    "size of a GIF": ("a.gif", attacks.gif, TOO_MANY),
    "size of a WebP": ("a.webp", attacks.webp, r"a\.webp"),
    "size of an AVIF": ("a.avif", attacks.avif, r"a\.avif"),
    "size of a TIFF": ("a.tif", lambda: attacks.tiff(60_000, 60_000), TOO_MANY),
    "size of a deep TIFF": ("a.tif", lambda: attacks.tiff(60_000, 60_000, bits=16), TOO_MANY),
    "samples of a TIFF": ("a.tif", lambda: attacks.tiff(9_000, 9_000, 16, 60_000), r"at most 32 samples .*60000"),
    "tags of a TIFF": ("a.tif", lambda: attacks.shared_tags(6_000), r"its tags hold more than"),
    "EXIF of a JPEG": ("a.jpg", lambda: attacks.jpeg_with_exif(attacks.shared_tags(6_000)), r"its tags hold more than"),
    "EXIF of a PNG": (
        "a.png",
        lambda: attacks.png(extra=[(b"eXIf", attacks.shared_tags(6_000))]),
        r"EXIF .* its tags hold more than",
    ),
    "text of a PNG": (
        "a.png",
        lambda: attacks.png(extra=[(b"zTXt", b"Comment\0\0" + PACKED)]),
        r"Decompressed data too large",
    ),
    "texts of a PNG": (
        "a.png",
        lambda: attacks.png(extra=[(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(2**20 - 1)))] * 70),
        r"Too much memory used in text chunks",
    ),
    "color profile of a PNG": (
        "a.png",
        lambda: attacks.png(extra=[(b"iCCP", b"profile\0\0" + PACKED)]),
        r"Decompressed data too large",
    ),
    "EPS under another name": ("a.png", lambda: attacks.EPS, r"is a drawing and not a picture.*Draw it to a PNG"),
}


@pytest.mark.parametrize("case", BOMBS)
def test_pictures_are_refused(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name, make, message = BOMBS[case]
    (tmp_path / name).write_bytes(make())
    with memory_below(200), pytest.raises(ValueError, match=message):
        open_image(tmp_path / name)
    with memory_below(200):
        media_kind(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("case", ["size of a PNG", "tags of a TIFF", "EXIF of a JPEG", "EPS under another name"])
def test_textures_are_refused(case):
    _, make, _ = BOMBS[case]
    with memory_below(200), pytest.raises((ValueError, Image.DecompressionBombError)):
        texture_pixels(make())


def test_what_files_may_hold_is_read(tmp_path):
    exif = attacks.directory([(0x0112, 3, 1, 6), (0x010E, 2, 20, 50)], b"a description here.\0")
    (tmp_path / "a.jpg").write_bytes(attacks.jpeg_with_exif(exif))
    (tmp_path / "b.png").write_bytes(attacks.png(extra=[(b"zTXt", b"Comment\0\0" + zlib.compress(b"short"))]))
    assert open_image(tmp_path / "a.jpg").shape == (3, 16, 16)
    assert open_image(tmp_path / "b.png").shape == (3, 8, 8)


def test_the_limit_of_pixels_is_raised_as_the_message_says(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    Image.fromarray(np.zeros((30, 30), np.uint8)).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match="exceeds limit of 200 pixels.*MAX_IMAGE_PIXELS to a larger number"):
        open_image(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert open_image(path).shape == (3, 30, 30)


def test_a_jpeg_2000_is_not_larger_than_its_box_says(monkeypatch):
    """Pillow goes by the box in front, the decoder of deep pictures by the codestream."""
    from atoken.processing import deep_pictures_atoken

    codestream = b"\xff\x4f\xff\x51" + struct.pack(">HH", 49, 0) + struct.pack(">8I", 60_000, 60_000, *(0,) * 6)
    codestream += struct.pack(">H", 3) + bytes([11, 1, 1] * 3) + b"\xff\xd9"
    with Image.new("RGB", (8, 8)) as small, pytest.raises(Image.DecompressionBombError, match="60000x60000"):
        deep_pictures_atoken._decode_jpeg2000(small, codestream, 3, "a.jp2")


ADDRESSES = ["file:///etc/passwd", "ftp://example.org/a.png", "/etc/passwd", "data:image/png;base64,AAAA"]


@pytest.mark.parametrize("address", ADDRESSES)
def test_only_http_is_fetched(address, monkeypatch):
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: pytest.fail("it was opened"))
    with pytest.raises(ValueError, match="url must be an address that begins with http"):
        download_image(address)


def test_a_download_ends(monkeypatch):
    class Endless(io.RawIOBase):
        def read(self, size=-1):
            assert size >= 0, "all of it was asked for"
            return bytes(size)

    monkeypatch.setenv("ATOKEN_MAX_DOWNLOAD_BYTES", "1000")
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: Endless())
    with pytest.raises(ValueError, match=r"at most 1,000 bytes.*ATOKEN_MAX_DOWNLOAD_BYTES"):
        download_image("https://example.org/a.png")
