"""Pictures whose files say what their colors are come out in sRGB, and all others as they are stored."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from atoken.processing import AtokenImageProcessor, AtokenProcessor
from atoken.processing.hdr_video_atoken import to_srgb as to_srgb_video
from atoken.processing.media_reading_atoken import open_image
from atoken.processing.media_warnings_atoken import MediaWarning
from atoken.processing.pil_decoding_atoken import pil_to_rgb

from .picture_bytes import (
    icc_gamma,
    icc_matrix_profile,
    icc_parametric,
    icc_profile,
    icc_samples,
    icc_table,
    png,
)
from .samples import photo

# Everything in float64, under D65, from the definitions: x and y of red, green and blue.
D65 = (0.3127, 0.3290)
PRIMARIES = {
    "srgb": (0.64, 0.33, 0.30, 0.60, 0.15, 0.06),
    "p3": (0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    "adobe": (0.64, 0.33, 0.21, 0.71, 0.15, 0.06),
    "bt2020": (0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
}
SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
COLORS = np.array(
    [[255, 0, 0], [70, 197, 70], [0, 0, 255], [12, 130, 240], [255, 255, 255], [0, 0, 0], [90, 130, 170], [1, 2, 3]]
)


def xyz_of(primaries) -> np.ndarray:
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in np.reshape(primaries, (3, 2))]).T
    white = np.array([D65[0] / D65[1], 1, (1 - sum(D65)) / D65[1]])
    return columns * np.linalg.solve(columns, white)


def to_light(values: np.ndarray, curve) -> np.ndarray:
    if curve != "srgb":
        return values**curve
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def to_srgb(values: np.ndarray, space: str, curve) -> np.ndarray:
    """Values in [0, 1] (..., 3) of a space, in sRGB."""
    linear = to_light(values, curve) @ (np.linalg.inv(xyz_of(PRIMARIES["srgb"])) @ xyz_of(PRIMARIES[space])).T
    linear = linear.clip(0, 1)
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear.clip(1e-9) ** (1 / 2.4) - 0.055)


# The matrix from XYZ under D65 to XYZ under D50 that the ICC prescribes.
BRADFORD = np.array(
    [[1.0478112, 0.0228866, -0.0501270], [0.0295424, 0.9904844, -0.0170491], [-0.0092345, 0.0150436, 0.7521316]]
)


def profile(space: str, curve: bytes) -> bytes:
    """An ICC profile of primaries and a curve."""
    return icc_matrix_profile(BRADFORD @ xyz_of(PRIMARIES[space]), [curve] * 3)


CURVES = {
    "srgb": (icc_parametric(3, *SRGB_CURVE), "srgb"),
    "srgb with offsets": (icc_parametric(4, *SRGB_CURVE, 0.0, 0.0), "srgb"),
    "gamma": (icc_gamma(563 / 256), 563 / 256),
    "gamma parameter": (icc_parametric(0, 1.8), 1.8),
    "linear": (b"curv\0\0\0\0" + bytes(4), 1.0),
    "samples": (icc_samples(np.linspace(0, 1, 1024) ** 2.2), 2.2),
}
PROFILES = [
    ("p3", "srgb"),
    ("p3", "srgb with offsets"),
    ("adobe", "gamma"),
    ("srgb", "linear"),
    ("bt2020", "samples"),
    ("srgb", "gamma parameter"),
]


def colors(depth: int) -> np.ndarray:
    """(1, N, 3) of the type."""
    return (
        COLORS[None].astype(np.uint8)
        if depth == 8
        else (COLORS[None] * 257 + (COLORS[None] > 0) * -31).astype(np.uint16)
    )


def opened(data: bytes, tmp_path, name: str = "a.png", **options) -> np.ndarray:
    (tmp_path / name).write_bytes(data)
    return open_image(tmp_path / name, **options).permute(1, 2, 0).numpy()


def iccp(profile: bytes) -> tuple[bytes, bytes]:
    return b"iCCP", b"profile\0\0" + zlib.compress(profile)


@pytest.mark.parametrize(("space", "curve"), PROFILES)
@pytest.mark.parametrize("depth", [8, 16])
def test_profile_of_curves_and_primaries(tmp_path, space, curve, depth):
    element, meaning = CURVES[curve]
    stored = colors(depth)
    white = 2**depth - 1
    data = png(stored, iccp(profile(space, element)))
    expected = to_srgb(stored / white, space, meaning) * white
    # LittleCMS computes with 16 bits; near black the slope of sRGB against a power is steep.
    tolerance = 1.6 if depth == 8 else 60
    got = opened(data, tmp_path)
    assert got.dtype == stored.dtype
    assert np.abs(got - expected).max() <= tolerance
    assert (
        np.abs(pil_to_rgb(Image.open(io.BytesIO(data)), "images").permute(1, 2, 0).numpy() - expected).max()
        <= tolerance
    )
    assert np.array_equal(opened(data, tmp_path, color_management=False), stored)


@pytest.mark.parametrize("suffix", ["png", "tif", "webp", "jpg", "avif", "jp2"])
def test_profile_in_any_format(tmp_path, suffix):
    stored = np.zeros((16, 16, 3), np.uint8) + np.array([70, 197, 70], np.uint8)
    element, meaning = CURVES["srgb"]
    options = {"webp": {"lossless": True}, "jpg": {"quality": 100, "subsampling": 0}, "avif": {"quality": 100}}
    file = io.BytesIO()
    image = Image.fromarray(stored)
    data_format = {"tif": "TIFF", "jpg": "JPEG", "jp2": "JPEG2000"}.get(suffix, suffix)
    image.save(file, data_format, icc_profile=profile("p3", element), **options.get(suffix, {}))
    data = file.getvalue()
    if suffix == "jp2":
        # Pillow writes no profile: put it in the place of the color space.
        box = struct.pack(">I", 11 + len(profile("p3", element))) + b"colr\2\0\0" + profile("p3", element)
        at = data.index(b"colr") - 4
        old = struct.unpack(">I", data[at : at + 4])[0]
        head = data.index(b"jp2h") - 4
        size = struct.unpack(">I", data[head : head + 4])[0] + len(box) - old
        data = data[:head] + struct.pack(">I", size) + data[head + 4 : at] + box + data[at + old :]
    expected = to_srgb(stored / 255, "p3", meaning) * 255
    assert np.abs(opened(data, tmp_path, f"a.{suffix}") - expected).max() <= (8 if suffix == "avif" else 4)


def test_profile_in_deep_and_float_tiff(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    for values in (colors(16), (COLORS[None] / 255).astype(np.float32)):
        white = 65535 if values.dtype == np.uint16 else 1
        tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", iccprofile=profile("adobe", CURVES["gamma"][0]))
        expected = to_srgb(values / white, "adobe", 563 / 256) * white
        got = open_image(tmp_path / "a.tif").permute(1, 2, 0).numpy()
        assert got.dtype == values.dtype and np.abs(got - expected).max() <= 1e-3 * white


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("channels", [1, 2])
def test_profile_of_gray(tmp_path, depth, channels):
    white = 2**depth - 1
    gray = np.linspace(0, white, 52).round().astype(np.uint8 if depth == 8 else np.uint16).reshape(1, -1, 1)
    stored = np.concatenate([gray, np.full_like(gray, white)], axis=2)[..., :channels]
    data = png(stored, iccp(icc_profile(b"GRAY", b"XYZ ", {b"kTRC": icc_gamma(1.8)})))
    expected = to_srgb((gray / white).repeat(3, 2), "srgb", 1.8) * white
    got = opened(data, tmp_path)
    assert np.abs(got - expected).max() <= (1.6 if depth == 8 else 100)
    assert (got == got[..., :1]).all()


def test_gray_picture_with_a_profile_of_rgb(tmp_path):
    gray = np.arange(256, dtype=np.uint8).reshape(1, -1, 1)
    data = png(gray, iccp(profile("adobe", CURVES["linear"][0])))
    assert np.abs(opened(data, tmp_path) - to_srgb((gray / 255).repeat(3, 2), "srgb", 1.0) * 255).max() <= 1.6


# PNG says its colors in several ways, of which the first that it has counts: cICP, iCCP, sRGB, gAMA and cHRM.


def gama(gamma: float) -> tuple[bytes, bytes]:
    return b"gAMA", struct.pack(">I", round(gamma * 100000))


def chrm(space: str) -> tuple[bytes, bytes]:
    return b"cHRM", struct.pack(">8I", *(round(value * 100000) for value in (*D65, *PRIMARIES[space])))


def cicp(primaries: int, transfer: int, full_range: int = 1) -> tuple[bytes, bytes]:
    return b"cICP", bytes([primaries, transfer, 0, full_range])


SRGB_CHUNK = (b"sRGB", b"\0")
CHUNKS = {
    "gamma 1": ([gama(1.0)], ("srgb", 1.0)),
    "gamma 1.8": ([gama(1 / 1.8)], ("srgb", 1.8)),
    "gamma of sRGB": ([gama(0.45455)], None),
    "gamma and primaries of sRGB": ([gama(0.45455), chrm("srgb")], None),
    "primaries": ([chrm("p3")], ("p3", "srgb")),
    "gamma of sRGB and primaries": ([gama(0.45455), chrm("p3")], ("p3", "srgb")),
    "gamma and primaries": ([gama(1.0), chrm("adobe")], ("adobe", 1.0)),
    "sRGB before gamma": ([SRGB_CHUNK, gama(1.0), chrm("p3")], None),
    "profile before gamma": ([iccp(profile("p3", CURVES["srgb"][0])), gama(1.0)], ("p3", "srgb")),
    "codes of sRGB": ([cicp(1, 13), iccp(profile("p3", CURVES["srgb"][0]))], None),
    "codes of BT.709": ([cicp(1, 1)], None),
    "codes of P3": ([cicp(12, 13), SRGB_CHUNK], ("p3", "srgb")),
    "codes of BT.2020": ([cicp(9, 13)], ("bt2020", "srgb")),
    "codes of light": ([cicp(1, 8)], ("srgb", 1.0)),
    "codes left open": ([cicp(2, 2)], None),
}


@pytest.mark.parametrize("case", CHUNKS)
@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("channels", [1, 3])
def test_chunks_of_png(tmp_path, case, depth, channels):
    chunks, meaning = CHUNKS[case]
    if channels == 1:
        chunks = [chunk for chunk in chunks if chunk[0] != b"iCCP"]
        if "profile" in case:
            pytest.skip("a gray picture has no profile of RGB")
    stored, white = colors(depth)[..., :channels], 2**depth - 1
    data = png(stored, *chunks)
    values = np.broadcast_to(stored / white, (*stored.shape[:2], 3))
    got = opened(data, tmp_path)
    if meaning is None:
        assert np.array_equal(got, np.broadcast_to(stored, got.shape))
    else:
        # Whites are rounded in the chunk.
        assert np.abs(got - to_srgb(values, *meaning) * white).max() <= (1.01 if depth == 8 else 40)
    assert np.array_equal(opened(data, tmp_path, color_management=False), np.broadcast_to(stored, got.shape))


@pytest.mark.parametrize(
    "chunk",
    [cicp(1, 77), cicp(99, 13), cicp(1, 13, 0), gama(0.0), (b"cHRM", struct.pack(">8I", *[31270] * 8))],
    ids=str,
)
def test_chunks_that_make_no_sense_are_named_and_ignored(tmp_path, chunk):
    with pytest.warns(MediaWarning, match=r"a\.png"):
        assert np.array_equal(opened(png(colors(8), chunk), tmp_path), colors(8))


@pytest.mark.parametrize("transfer", [16, 18])
def test_high_dynamic_range_is_tone_mapped_and_named(tmp_path, transfer):
    ramp = np.linspace(0, 65535, 64).round().astype(np.uint16).reshape(1, -1, 1).repeat(3, 2)
    with pytest.warns(MediaWarning, match=r"a\.png.*high dynamic range"):
        got = opened(png(ramp, cicp(9, transfer)), tmp_path).astype(int)
    assert (np.diff(got[0, :, 0]) >= 0).all() and got[0, 0, 0] == 0 and got[0, -1, 0] > 65000
    assert np.abs(got - got[..., :1]).max() <= 40
    # PQ 0.4405 is 50 candela per square meter: a quarter of paper white at 203, which is 0.54 in sRGB.
    if transfer == 16:
        with pytest.warns(MediaWarning):
            gray = opened(png(np.full((1, 1, 3), round(0.44028 * 65535), np.uint16), cicp(1, 16)), tmp_path)
        assert np.abs(gray / 65535 - (1.055 * (50 / 203) ** (1 / 2.4) - 0.055)).max() < 0.002


@pytest.mark.parametrize("transfer", [16, 18])
@pytest.mark.parametrize("primaries", [1, 9, 12])
def test_pictures_and_videos_of_high_dynamic_range_look_the_same(tmp_path, transfer, primaries):
    pixels = np.random.default_rng(0).integers(0, 65536, (9, 13, 3), dtype=np.uint16)
    with pytest.warns(MediaWarning):
        got = opened(png(pixels, cicp(primaries, transfer)), tmp_path)
    assert np.abs(got / 257 - to_srgb_video(pixels, 65535, transfer, primaries)).max() <= 0.6


def test_adobe_rgb_of_exif(tmp_path):
    stored = np.zeros((16, 16, 3), np.uint8) + np.array([70, 197, 70], np.uint8)
    for space, index, managed in ((65535, "R03", True), (2, None, True), (1, "R98", False), (65535, None, False)):
        exif = Image.Exif()
        exif.get_ifd(0x8769)[0xA001] = space
        if index:
            exif.get_ifd(0x8769)[0xA005] = {1: index}
        file = io.BytesIO()
        Image.fromarray(stored).save(file, "JPEG", quality=100, subsampling=0, exif=exif)
        expected = to_srgb(stored / 255, "adobe", 563 / 256) * 255 if managed else stored
        assert np.abs(opened(file.getvalue(), tmp_path, "a.jpg") - expected).max() <= 3, (space, index)


def test_codes_of_avif(tmp_path):
    stored = np.zeros((16, 16, 3), np.uint8) + np.array([70, 197, 70], np.uint8)
    file = io.BytesIO()
    Image.fromarray(stored).save(file, "AVIF", quality=100, subsampling="4:4:4")
    data = file.getvalue()
    assert np.abs(opened(data, tmp_path, "a.avif").astype(int) - stored).max() <= 2
    at = data.index(b"colrnclx") + 8
    data = data[:at] + struct.pack(">HH", 12, 13) + data[at + 4 :]
    expected = to_srgb(stored / 255, "p3", "srgb") * 255
    assert np.abs(opened(data, tmp_path, "a.avif") - expected).max() <= 8


# Tables, as profiles of printers have them.


def lab_of(rgb: np.ndarray) -> np.ndarray:
    """Linear sRGB to Lab under D50."""
    matrix = BRADFORD @ xyz_of(PRIMARIES["srgb"])
    ratio = rgb @ matrix.T / matrix.sum(axis=1)
    f = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


def test_profile_of_cmyk(tmp_path):
    ink = np.array(np.meshgrid(*[[0, 1]] * 4, indexing="ij")).reshape(4, -1).T
    # Each ink of this press lets a fifth of its color through, and black a fifth of all.
    passes = np.array([[0.2, 1, 1], [1, 0.2, 1], [1, 1, 0.2], [0.2, 0.2, 0.2]])
    light = np.prod(passes[None] ** ink[..., None], axis=1)
    press = icc_profile(b"CMYK", b"Lab ", {b"A2B0": icc_table(4, lab_of(light)), b"A2B1": icc_table(4, lab_of(light))})
    stored = (ink[None] * 255).astype(np.uint8)
    image = Image.frombytes("CMYK", (16, 1), stored.tobytes())
    image.save(tmp_path / "a.tif", icc_profile=press)
    got = open_image(tmp_path / "a.tif").permute(1, 2, 0).numpy()
    # This profile has no way back to ink, from which a black point would be found to be compensated.
    expected = to_srgb(light, "srgb", 1.0)[None] * 255
    assert got[0, 0].tolist() == [255] * 3
    assert np.abs(got - expected).max() <= 12
    plain = open_image(tmp_path / "a.tif", color_management=False).permute(1, 2, 0).numpy()
    assert np.array_equal(plain, np.asarray(image.convert("RGB")))


def test_deep_picture_with_a_table_is_named(tmp_path):
    corners = np.array(np.meshgrid(*[[0, 1]] * 3, indexing="ij")).reshape(3, -1).T
    table = icc_table(3, lab_of(corners[:, ::-1].astype(float)))
    swapped = icc_profile(b"RGB ", b"Lab ", {b"A2B0": table, b"A2B1": table})
    stored = np.array([[[65535, 0, 0], [0, 65535, 0], [65535, 65535, 65535]]], np.uint16)
    with pytest.warns(MediaWarning, match=r"a\.png.*8 bits"):
        got = opened(png(stored, iccp(swapped)), tmp_path)
    assert got.dtype == np.uint16 and np.abs(got.astype(int) - stored[..., ::-1]).max() <= 3000


# What must not move.


def test_profile_of_srgb_keeps_every_number(tmp_path):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    pixels = photo(60, 80)
    for data in (png(pixels, iccp(srgb)), png(pixels, iccp(profile("srgb", CURVES["srgb"][0])))):
        assert np.array_equal(opened(data, tmp_path), pixels)
    deep = pixels.astype(np.uint16) * 256 + 17
    assert np.array_equal(opened(png(deep, iccp(srgb)), tmp_path), deep)


@pytest.mark.parametrize("broken", ["noise", "cut", "cmyk", "gray", "empty table"])
def test_profile_that_cannot_be_applied_is_named(tmp_path, broken):
    right = profile("p3", CURVES["srgb"][0])
    data = {
        "noise": bytes(range(200)),
        "cut": right[:150],
        "cmyk": right[:16] + b"CMYK" + right[20:],
        "gray": icc_profile(b"GRAY", b"XYZ ", {b"kTRC": icc_gamma(1.8)}),
        "empty table": icc_profile(b"RGB ", b"XYZ ", {}),
    }[broken]
    file = io.BytesIO()
    Image.fromarray(photo(9, 9)).save(file, "PNG", icc_profile=data)
    with pytest.warns(MediaWarning, match=r"a\.png.*ICC profile"):
        assert np.array_equal(opened(file.getvalue(), tmp_path), photo(9, 9))


@pytest.mark.parametrize("depth", [8, 16])
def test_colors_are_managed_before_they_are_put_on_white(tmp_path, depth):
    white = 2**depth - 1
    stored = np.concatenate([colors(depth), np.full((1, len(COLORS), 1), white // 2, colors(depth).dtype)], axis=2)
    got = opened(png(stored, gama(1.0)), tmp_path)
    color = to_srgb(stored[..., :3] / white, "srgb", 1.0)
    share = (white // 2) / white
    assert np.abs(got - (color * share + 1 - share) * white).max() <= 1.1


def test_color_management_is_an_option_of_the_processors(tmp_path):
    data = png(colors(8), iccp(profile("p3", CURVES["srgb"][0])))
    (tmp_path / "a.png").write_bytes(data)
    path = str(tmp_path / "a.png")
    managed = torch.from_numpy(opened(data, tmp_path)).permute(2, 0, 1) / 255
    stored = torch.from_numpy(colors(8)).permute(2, 0, 1) / 255

    def seen(processor, *given, **options) -> torch.Tensor:
        return processor.post_process(**processor(*given, **options))[0]

    images, both = AtokenImageProcessor(), AtokenProcessor()
    kept = AtokenImageProcessor(color_management=False)
    kept.save_pretrained(tmp_path / "kept")
    AtokenProcessor(image_processor=kept).save_pretrained(tmp_path / "both")
    loaded = AtokenImageProcessor.from_pretrained(tmp_path / "kept")
    loaded_both = AtokenProcessor.from_pretrained(tmp_path / "both")
    pillow = Image.open(path)
    for image in (path, pillow):
        for result in (seen(images, image), seen(both, image), seen(kept, image, color_management=True)):
            torch.testing.assert_close(result, managed)
        for result in (
            seen(images, image, color_management=False),
            seen(both, images=image, images_kwargs={"color_management": False}),
            seen(both, images=image, color_management=False),
            seen(kept, image),
            seen(loaded, image),
            seen(loaded_both, image),
        ):
            torch.testing.assert_close(result, stored)
    torch.testing.assert_close(seen(images, colors(8), input_data_format="channels_last"), stored)
    assert loaded.to_dict()["color_management"] is False
    with pytest.raises(ValueError, match="color_management must be True or False, got None"):
        images(path, color_management=None)
