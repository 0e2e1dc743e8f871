"""Pictures of more than 8 bits keep all their bits, and their values mean what the file says."""

import io
import sys
import zlib
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from atoken.processing.media_reading_atoken import open_image
from atoken.processing.media_warnings_atoken import MediaWarning
from atoken.processing.pil_decoding_atoken import pil_to_rgb

from .picture_bytes import packed_bits, png, tiff
from .samples import photo

tifffile = pytest.importorskip("tifffile")
SIZE = (37, 51)


def read(folder, data: bytes, name: str = "deep.tif") -> np.ndarray:
    """What a file holds, (H, W, 3), the same through its path and through Pillow."""
    path = folder / name
    path.write_bytes(data)
    pixels = open_image(path).permute(1, 2, 0).numpy()
    return pixels


def deep(channels: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Noise that holds 0, 65535 and the values just below, where roundings overflow."""
    pixels = np.random.default_rng(channels).integers(0, 65536, (*size, channels), dtype=np.uint16)
    pixels[0, :6] = [[value] * channels for value in (0, 1, 255, 65407, 65408, 65535)]
    return pixels


def write_tiff(pixels: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **options)
    return file.getvalue()


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("parts", [{}, {"rowsperstrip": 7}, {"tile": (16, 32)}, {"bigtiff": True}], ids=str)
@pytest.mark.parametrize("compression", [{}, {"compression": "zlib"}, {"compression": "zlib", "predictor": 2}], ids=str)
def test_sixteen_bit_tiff_of_any_layout(tmp_path, byteorder, planar, parts, compression):
    if byteorder == ">" and "bigtiff" in parts:
        pytest.skip("Pillow does not read it")
    for channels in (3, 4):
        pixels = deep(channels)
        if channels == 4:
            pixels[..., 3] = 65535
        stored = pixels if planar == "contig" else np.ascontiguousarray(pixels.transpose(2, 0, 1))
        extra = {"extrasamples": ["unassalpha"]} if channels == 4 else {}
        options = {
            "photometric": "rgb",
            "planarconfig": planar,
            "byteorder": byteorder,
            **parts,
            **compression,
            **extra,
        }
        assert np.array_equal(read(tmp_path, write_tiff(stored, **options)), pixels[..., :3])
    with Image.open(tmp_path / "deep.tif") as image:
        assert np.array_equal(pil_to_rgb(image, "images").permute(1, 2, 0).numpy(), pixels[..., :3])


@pytest.mark.parametrize("compression", ["packbits", "lzw", "raw", "deflate"])
def test_sixteen_bit_tiff_of_another_writer(tmp_path, compression):
    av = pytest.importorskip("av")
    pixels = deep(3)
    codec = av.CodecContext.create("tiff", "w")
    codec.height, codec.width, codec.pix_fmt, codec.time_base = *SIZE, "rgb48le", Fraction(1)
    codec.options = {"compression_algo": compression}
    packets = codec.encode(av.VideoFrame.from_ndarray(pixels, format="rgb48le")) + codec.encode(None)
    assert np.array_equal(read(tmp_path, b"".join(bytes(packet) for packet in packets)), pixels)


@pytest.mark.parametrize("predictor", [1, 2])
@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_adobe_deflate", "lzma", "zstd"])
def test_sixteen_bit_gray_tiff_of_pillow(tmp_path, compression, predictor):
    pixels = deep(1)
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0]).save(file, "TIFF", compression=compression, tiffinfo={317: predictor})
    assert np.array_equal(read(tmp_path, file.getvalue()), pixels.repeat(3, 2))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("photometric", ["miniswhite", "minisblack", "rgb"])
def test_white_is_zero_and_floats(tmp_path, dtype, byteorder, photometric):
    values = deep(3 if photometric == "rgb" else 1)
    white = 1 if np.dtype(dtype).kind == "f" else np.iinfo(dtype).max
    values = (
        (values / 65535).astype(dtype) if white == 1 else (values >> (16 - 8 * np.dtype(dtype).itemsize)).astype(dtype)
    )
    data = write_tiff(values.squeeze(), photometric=photometric, byteorder=byteorder)
    values = values.astype(np.float64)
    expected = white - values if photometric == "miniswhite" else values
    got = read(tmp_path, data)
    assert got.dtype == (np.float32 if white == 1 else dtype)
    assert np.abs(got.astype(np.float64) - expected).max() <= (1e-7 if white == 1 else 0)


@pytest.mark.parametrize("predictor", [2, 3])
def test_predictors_of_floats(tmp_path, predictor):
    values = (deep(3) / 65535).astype(np.float32)
    if predictor == 2:
        words = values.view(np.uint32)
        differences = np.diff(words, axis=1, prepend=np.zeros_like(words[:, :1]))
        strip = zlib.compress(differences.astype("<u4").tobytes())
    else:
        # The bytes of a row, the highest of all numbers first, and the difference of each to the one three before.
        planes = values.astype(">f4").reshape(SIZE[0], -1, 1).view(np.uint8).transpose(0, 2, 1).reshape(SIZE[0], -1, 3)
        strip = zlib.compress(np.diff(planes, axis=1, prepend=np.zeros_like(planes[:, :1])).tobytes())
    data = tiff(strip, SIZE, 32, 3, 2, compression=8, tag_317=predictor, tag_339=3)
    if predictor == 2:
        assert np.array_equal(tifffile.imread(io.BytesIO(data)), values)
    assert np.array_equal(read(tmp_path, data), values)


@pytest.mark.parametrize("bits", [9, 10, 12, 14])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [1, 8])
def test_packed_bits_reach_full_white(tmp_path, bits, channels, order, compression):
    white = 2**bits - 1
    samples = np.random.default_rng(bits).integers(0, white + 1, (SIZE[0], SIZE[1] * channels))
    samples[0, :6] = [0, 0, 0, white, white, white]
    strip = packed_bits(samples, bits)
    strip = zlib.compress(strip) if compression == 8 else strip
    data = tiff(strip, SIZE, bits, channels, 2 if channels == 3 else 1, order, compression)
    expected = np.floor(samples.astype(np.float64) * 65535 / white + 0.5).reshape(*SIZE, channels)
    assert np.array_equal(read(tmp_path, data), np.broadcast_to(expected, (*SIZE, 3)))


@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("kind", ["assocalpha", "unassalpha"])
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_deep_alpha_on_white(tmp_path, channels, kind, dtype):
    pixels = deep(channels).astype(np.float64) / 65535
    color, alpha = pixels[..., :-1], pixels[..., -1:]
    if kind == "assocalpha":
        color = color * alpha
    white = 65535 if dtype == np.uint16 else 1
    stored = np.concatenate([color, alpha], axis=2) * white
    stored = (np.rint(stored) if white > 1 else stored).astype(dtype)
    data = write_tiff(
        stored, photometric="rgb" if channels == 4 else "minisblack", planarconfig="contig", extrasamples=[kind]
    )
    stored = stored.astype(np.float64)
    light = stored[..., :-1] if kind == "assocalpha" else stored[..., :-1] * stored[..., -1:] / white
    expected = light + white - stored[..., -1:]
    assert np.abs(read(tmp_path, data) - expected).max() <= (0.5001 if white > 1 else 1e-6)


def test_deep_cmyk_tiff(tmp_path):
    pixels = deep(4)
    data = write_tiff(pixels, photometric="separated", planarconfig="contig")
    ink = 1 - pixels / 65535
    assert np.abs(read(tmp_path, data) - ink[..., :3] * ink[..., 3:] * 65535).max() <= 0.5001


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.uint32])
def test_integers_without_a_white_are_refused(tmp_path, dtype):
    (tmp_path / "a.tif").write_bytes(write_tiff(np.zeros((5, 6), dtype)))
    with pytest.raises(
        ValueError, match=r"a\.tif.*must have unsigned integers of up to 16 bits.*got .*integers.*Scale"
    ):
        open_image(tmp_path / "a.tif")


def test_many_samples_without_colors_are_refused(tmp_path):
    (tmp_path / "a.tif").write_bytes(write_tiff(deep(5), photometric="minisblack", planarconfig="contig"))
    with pytest.raises(ValueError, match=r"a\.tif.*5 samples per pixel"):
        open_image(tmp_path / "a.tif")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"tile": (16, 16)}], ids=str)
def test_cut_deep_tiff_is_refused(tmp_path, share, options):
    data = write_tiff(deep(3), photometric="rgb", **options)
    (tmp_path / "a.tif").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ValueError, match=r"a\.tif"):
        open_image(tmp_path / "a.tif")


def test_pages_that_are_pictures_and_pages_that_are_not(tmp_path):
    full, other = photo(48, 64), photo(48, 64, seed=3)
    smooth = np.asarray(Image.fromarray(photo(3, 4)).resize((64, 48), Image.Resampling.BICUBIC))
    small = np.asarray(Image.fromarray(smooth).resize((16, 12), Image.Resampling.BOX))
    mask = {"subfiletype": 4, "photometric": "mask"}

    def write(*pages) -> None:
        with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
            for pixels, extra in pages:
                writer.write(pixels, **{"photometric": "rgb", **extra})

    for pages in (
        [(full, {}), (other[:12, :16], {"subfiletype": 1})],
        [(other[:12, :16], {"subfiletype": 1}), (full, {})],
        [(full, {}), (full[..., 0] > 99, mask)],
        [(full, {"subifds": 1}), (other[:24, :32], {"subfiletype": 1})],
        [(other[:24, :32], {"subfiletype": 1, "subifds": 1}), (full, {})],
    ):
        write(*pages)
        assert np.array_equal(open_image(tmp_path / "a.tif").permute(1, 2, 0), full)
        with Image.open(tmp_path / "a.tif") as image:
            assert np.array_equal(pil_to_rgb(image, "images").permute(1, 2, 0), full)
    for pages in ([(smooth, {}), (small, {})], [(small, {}), (smooth, {})]):
        write(*pages)
        assert np.array_equal(open_image(tmp_path / "a.tif").permute(1, 2, 0), smooth)
    # Two pictures, and a second one that is smaller and shows something else.
    for pages in ([(full, {}), (other, {})], [(smooth, {}), (255 - small, {})]):
        write(*pages)
        with pytest.raises(ValueError, match=r"must be one picture, got a TIFF with 2 pages.*copy\(\)") as raised:
            open_image(tmp_path / "a.tif")
        assert "videos=" not in str(raised.value)
        with Image.open(tmp_path / "a.tif") as image:
            image.seek(1)
            page = pil_to_rgb(image.copy(), "images").permute(1, 2, 0)
            assert np.array_equal(page, pages[1][0])
            with pytest.raises(ValueError, match=r"copy\(\)"):
                pil_to_rgb(image, "images")


@pytest.mark.parametrize("sensor", ["photometric", "version", "below"])
def test_raw_files_of_cameras_are_refused(tmp_path, sensor):
    small = photo(12, 16)
    if sensor == "photometric":
        data = tiff(bytes(24), (4, 6), 8, photometric=32803)
    elif sensor == "version":
        data = tiff(bytes(24), (4, 6), 8, tag_50706=0x0401)
    else:
        with tifffile.TiffWriter(tmp_path / "b.tif") as writer:
            writer.write(small, photometric="rgb", subfiletype=1, subifds=1)
            writer.write(deep(1)[..., 0], photometric="cfa")
        data = (tmp_path / "b.tif").read_bytes()
    (tmp_path / "a.dng").write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.dng.*raw file of a camera.*rawpy"):
        open_image(tmp_path / "a.dng")


# PGM and PPM.


@pytest.mark.parametrize("white", [1, 100, 255, 256, 1023, 4095, 65535])
@pytest.mark.parametrize("kind", ["P2", "P3", "P5", "P6"])
def test_portable_maps_reach_full_white(tmp_path, white, kind):
    channels = 3 if kind in ("P3", "P6") else 1
    values = np.random.default_rng(white).integers(0, white + 1, (*SIZE, channels))
    values[0, :2] = [[0], [white]]
    header = f"{kind}\n# a comment\n{SIZE[1]} {SIZE[0]}\n{white}\n".encode()
    if kind in ("P2", "P3"):
        body = "\n".join(" ".join(map(str, row)) for row in values.reshape(SIZE[0], -1)).encode()
        body = b"# and one here\n" + body
    else:
        body = values.astype(">u2" if white > 255 else np.uint8).tobytes()
    got = read(tmp_path, header + body, "a.ppm")
    top = 65535 if white > 255 else 255
    assert got.dtype == (np.uint16 if white > 255 else np.uint8)
    assert np.abs(got - values * (top / white)).max() <= 0.5001
    (tmp_path / "cut.ppm").write_bytes((header + body)[:-40])
    with pytest.raises(ValueError, match=r"cut\.ppm.*truncated"):
        open_image(tmp_path / "cut.ppm")


# PNG.


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_gray_png_of_few_bits(tmp_path, bits):
    values = np.arange(40, dtype=np.uint8).reshape(5, 8, 1) % (1 << bits)
    got = read(tmp_path, png(values, bits=bits), "a.png")
    assert np.array_equal(got[..., :1], values * (255 // ((1 << bits) - 1)))


@pytest.mark.parametrize("channels", [2, 4])
def test_deep_png_alpha_on_white(tmp_path, channels):
    pixels = deep(channels)
    color, alpha = pixels[..., :-1].astype(np.float64), pixels[..., -1:].astype(np.float64)
    expected = color * alpha / 65535 + 65535 - alpha
    assert np.abs(read(tmp_path, png(pixels), "a.png") - expected).max() <= 0.5001


# JPEG 2000.


def jpeg2000(pixels: np.ndarray, pixel_format: str) -> bytes:
    av = pytest.importorskip("av")
    codec = av.CodecContext.create("jpeg2000", "w")
    codec.height, codec.width, codec.pix_fmt, codec.time_base = *pixels.shape[:2], pixel_format, Fraction(1)
    codec.options = {"pred": "dwt53", "format": "jp2"}
    packets = codec.encode(av.VideoFrame.from_ndarray(pixels, format=pixel_format)) + codec.encode(None)
    return b"".join(bytes(packet) for packet in packets)


@pytest.mark.parametrize("kind", ["rgb48le", "rgba64le", "gray16le", "gray12le", "gray10le"])
def test_jpeg2000_of_more_than_eight_bits(tmp_path, kind):
    channels = {"rgb": 3, "rgba": 4}.get(kind.rstrip("le0123456789"), 1)
    bits = int(kind[len(kind.rstrip("le0123456789")) : -2]) if channels == 1 else 16
    pixels = deep(channels) >> (16 - bits)
    if channels == 4:
        pixels[..., -1] = 65535
    data = jpeg2000(pixels if channels > 2 else pixels.squeeze(), kind)
    got = read(tmp_path, data, "a.jp2")
    color = pixels[..., :3]
    assert got.dtype == np.uint16
    assert np.abs(got - color * (65535 / (2**bits - 1))).max() <= 0.5001
    (tmp_path / "cut.jp2").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"cut\.jp2"):
        open_image(tmp_path / "cut.jp2")


def test_jpeg2000_of_color_names_what_reads_it(tmp_path, monkeypatch):
    (tmp_path / "a.jp2").write_bytes(jpeg2000(deep(3), "rgb48le"))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ImportError, match=r'a\.jp2.*pip install "atoken\[video\]"'):
        open_image(tmp_path / "a.jp2")


# HEIC.


@pytest.mark.parametrize("bits", [8, 10, 12])
def test_heic_is_read_with_all_its_bits(tmp_path, bits):
    heif = pytest.importorskip("pillow_heif")
    smooth = (
        np.asarray(Image.fromarray(photo(3, 4)).resize((64, 48), Image.Resampling.BICUBIC)).astype(np.float64) / 255
    )
    white = 2**bits - 1
    if bits == 8:
        picture = heif.from_pillow(Image.fromarray(np.rint(smooth * 255).astype(np.uint8)))
    else:
        picture = heif.from_bytes("RGB;16", (64, 48), np.rint(smooth * 65535).astype("<u2").tobytes())
    monkey = pytest.MonkeyPatch()
    monkey.setattr(heif.options, "SAVE_HDR_TO_12_BIT", bits == 12)
    picture.save(tmp_path / "a.heic", quality=-1, chroma=444, matrix_coefficients=0)
    monkey.undo()
    got = open_image(tmp_path / "a.heic").permute(1, 2, 0).numpy()
    top = 255 if bits == 8 else 65535
    assert got.dtype == (np.uint8 if bits == 8 else np.uint16) and got.shape == (48, 64, 3)
    assert np.abs(got / top - smooth).max() <= 1.01 / white


def test_heic_names_what_reads_it(tmp_path, monkeypatch):
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImportError, match=r'a\.heic.*HEIC.*pip install "atoken\[heif\]"'):
        open_image(tmp_path / "a.heic")


def test_deep_file_that_cannot_be_read_twice_is_refused():
    class Stream(io.BytesIO):
        def seekable(self) -> bool:
            return False

    image = Image.open(Stream(png(deep(3))))
    with pytest.raises(ValueError, match="must be given as its path or as a uint16 array"):
        pil_to_rgb(image, "images")


def test_nothing_is_warned_of(tmp_path, recwarn):
    read(tmp_path, write_tiff(deep(3), photometric="rgb"))
    read(tmp_path, png(deep(3)), "a.png")
    assert not [warning for warning in recwarn if warning.category is MediaWarning]
