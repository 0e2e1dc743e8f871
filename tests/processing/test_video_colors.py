"""Colors of video frames against formulas in float64: matrices and ranges, HDR, wide primaries."""

import warnings

import av
import numpy as np
import pytest

from atoken.processing.media_warnings_atoken import MediaWarning

from .test_video_frames import plain, refilter, shown, silently_shown

PQ, HLG, SDR10, SRGB = 16, 18, 14, 13  # transfer functions as FFmpeg numbers them
BT601, BT709, BT2020, P3 = 6, 1, 9, 12  # matrices and primaries
LUMA = {BT601: (0.299, 0.114), BT709: (0.2126, 0.0722), BT2020: (0.2627, 0.0593)}


def random_planes(bits, full, height=16, width=240, seed=0):
    """Codes (3, H, W) of colors that are not too strong, with black, white and grays."""
    generator, unit = np.random.default_rng(seed), 1 << (bits - 8)
    low, high = (0, 256 * unit) if full else (16 * unit, 236 * unit)
    planes = generator.integers(120 * unit, 137 * unit, (3, height, width))
    planes[0] = generator.integers(low, high - unit + 1, (height, width))
    planes[1:, :4] = 128 * unit
    planes[0, 0, :2] = low, high - (1 if full else unit)
    return planes


def rgb_of(planes, bits, full, matrix):
    """Nonlinear RGB of YCbCr codes, (H, W, 3) in float64, by the definition."""
    unit, (red, blue) = 1 << (bits - 8), LUMA[matrix]
    black, span, chroma = (0, (1 << bits) - 1, (1 << bits) - 1) if full else (16 * unit, 219 * unit, 224 * unit)
    luma, cb, cr = (planes[0] - black) / span, (planes[1] - 128 * unit) / chroma, (planes[2] - 128 * unit) / chroma
    r, b = luma + 2 * (1 - red) * cr, luma + 2 * (1 - blue) * cb
    return np.stack([r, (luma - red * r - blue * b) / (1 - red - blue), b], axis=-1)


def frame_of(planes, pixel_format):
    frame = av.VideoFrame(planes.shape[2], planes.shape[1], pixel_format)
    for plane, codes in zip(frame.planes, planes, strict=True):
        dtype = np.uint8 if plane.line_size < 2 * plane.width else np.uint16
        padded = np.zeros((plane.height, plane.line_size // dtype().itemsize), dtype)
        padded[:, : plane.width] = codes
        plane.update(padded)
    return frame


def write(path, frame, matrix=2, full=None, transfer=2, primaries=2, codec="ffv1"):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width, stream.pix_fmt = frame.height, frame.width, frame.format.name
        context = stream.codec_context
        context.colorspace, context.color_trc, context.color_primaries = matrix, transfer, primaries
        context.color_range = 0 if full is None else 2 if full else 1
        frame.colorspace, frame.color_range = context.colorspace, context.color_range
        frame.pts = 0
        container.mux(stream.encode(frame) + stream.encode())
    return path


@pytest.mark.parametrize("matrix", LUMA, ids=["BT.601", "BT.709", "BT.2020"])
@pytest.mark.parametrize("full", [False, True], ids=["tv", "pc"])
@pytest.mark.parametrize(
    ("bits", "pixel_format"), [(8, "yuv444p"), (10, "yuv444p10le"), (12, "yuv444p12le"), (16, "yuv444p16le")]
)
def test_matrices_and_ranges(tmp_path, bits, pixel_format, full, matrix):
    planes = random_planes(bits, full)
    write(tmp_path / "a.mkv", frame_of(planes, pixel_format), matrix, full)
    want = rgb_of(planes, bits, full, matrix).clip(0, 1) * 255
    # libswscale cuts deep full range off instead of rounding it.
    assert np.abs(silently_shown(tmp_path / "a.mkv")[0] - want).max() < (1.6 if full and bits > 8 else 0.6)
    assert np.array_equal(shown(tmp_path / "a.mkv"), plain(tmp_path / "a.mkv"))


@pytest.mark.parametrize(
    ("pixel_format", "codec", "name"),
    [
        ("gray", "ffv1", "a.mkv"),
        ("gray10le", "ffv1", "a.mkv"),
        ("gbrp", "libx264rgb", "a.mp4"),
        ("gbrp10le", "ffv1", "a.mkv"),
        ("gbrp16le", "ffv1", "a.mkv"),
        ("rgb24", "rawvideo", "a.avi"),
        ("rgb48be", "png", "a.mov"),
        ("yuvj420p", "mjpeg", "a.mov"),
        ("yuv420p", "libx264", "a.mp4"),
    ],
)
def test_plain_formats_are_as_pyav_gives_them(tmp_path, pixel_format, codec, name):
    codec = "libx264rgb" if pixel_format == "gbrp" else codec
    stored = "rgb24" if codec == "libx264rgb" else pixel_format
    pixels = np.random.default_rng(0).integers(0, 256, (16, 32, 3), dtype=np.uint8)
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=stored)
    write(tmp_path / name, frame, codec=codec)
    assert np.array_equal(silently_shown(tmp_path / name), plain(tmp_path / name))


def test_tags_of_the_container_hold_where_the_frames_have_none(tmp_path):
    planes = random_planes(8, False)
    write(tmp_path / "a.mkv", frame_of(planes, "yuv444p"), BT709, False, 1, BT709, "libx264")
    none = "colour_primaries=2:transfer_characteristics=2:matrix_coefficients=2"
    refilter(tmp_path / "a.mkv", tmp_path / "b.mkv", f"h264_metadata={none}")
    with av.open(str(tmp_path / "b.mkv")) as container:
        assert next(container.decode(video=0)).colorspace == 2
    assert np.array_equal(shown(tmp_path / "b.mkv"), shown(tmp_path / "a.mkv"))


@pytest.mark.parametrize(("matrix", "name"), [(8, "YCgCo"), (14, "ICtCp")])
def test_other_matrices_are_named(tmp_path, matrix, name):
    write(tmp_path / "a.mkv", frame_of(random_planes(8, False), "yuv444p"), matrix, False)
    with pytest.raises(ValueError, match=f"^path: x must have colors with a matrix of .*got {name}. Re-encode"):
        shown(tmp_path / "a.mkv")


def pq_light(signal, primaries):
    """ST 2084, as a share of 203 candela per square meter."""
    root = signal ** (32 / 2523)
    return (np.maximum(root - 107 / 128, 0) / (2413 / 128 - 2392 / 128 * root)) ** (16384 / 2610) * 10000 / 203


def hlg_light(signal, primaries):
    """BT.2100 on a display of 1000 candela per square meter, as a share of 203 of them."""
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - 0.55991073) / 0.17883277) + 0.28466892) / 12)
    return 1000 / 203 * scene * (scene @ LUMINANCE[primaries])[..., None] ** 0.2


LUMINANCE = {BT2020: (0.2627, 0.6780, 0.0593), P3: (0.2290, 0.6917, 0.0793), BT709: (0.2126, 0.7152, 0.0722)}
# Published to four digits in ITU-R BT.2087 and, for Display P3, by the formulas of its primaries.
TO_BT709 = {
    BT2020: np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]),
    P3: np.array([[1.2249, -0.2247, 0.0], [-0.0420, 1.0419, 0.0], [-0.0197, -0.0786, 1.0979]]),
    BT709: np.eye(3),
}


def tone_mapped(light):
    largest = light.max(-1, keepdims=True).clip(min=1e-9)
    rolled = 0.8 + 0.2 * (1 - np.exp(-(largest - 0.8) / 0.2))
    return np.where(largest <= 0.8, light, light * rolled / largest)


def srgb(light):
    light = light.clip(0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize(("transfer", "light", "name"), [(PQ, pq_light, "PQ"), (HLG, hlg_light, "HLG")])
@pytest.mark.parametrize(
    ("bits", "pixel_format", "full"),
    [(10, "yuv444p10le", False), (10, "yuv444p10le", True), (12, "yuv444p12le", False), (8, "yuv444p", False)],
)
@pytest.mark.parametrize("primaries", [BT2020, P3, BT709])
def test_hdr_is_tone_mapped_and_named(tmp_path, transfer, light, name, bits, pixel_format, full, primaries):
    planes = random_planes(bits, full)
    write(tmp_path / "a.mkv", frame_of(planes, pixel_format), BT2020, full, transfer, primaries)
    with pytest.warns(MediaWarning, match=rf"^path: x is HDR video with the transfer function {name} .*tone-mapped"):
        frames = shown(tmp_path / "a.mkv")
    linear = light(rgb_of(planes, bits, full, BT2020).clip(0, 1), primaries)
    want = srgb(tone_mapped(linear @ TO_BT709[primaries].T))
    # Dark colors magnify the rounding of the matrices to four digits.
    assert np.abs(frames[0] - want).max() < 2 and np.abs(frames[0] - want).mean() < 0.3


@pytest.mark.parametrize(("transfer", "signal"), [(PQ, 0.58069), (HLG, 0.75)])
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_reference_white_of_hdr_in_rgb(tmp_path, transfer, signal, bits):
    planes = np.full((3, 16, 32), round(signal * ((1 << bits) - 1)))
    planes[:, :, 16:] = (1 << bits) - 1  # the strongest light there is
    if bits == 8:
        frame = av.VideoFrame.from_ndarray(np.stack(list(planes), -1).astype(np.uint8), format="rgb24")
        write(tmp_path / "a.mkv", frame, 0, None, transfer, BT2020, "libx264rgb")
    else:
        write(tmp_path / "a.mkv", frame_of(planes, f"gbrp{bits}le"), 0, None, transfer, BT2020)
    with pytest.warns(MediaWarning):
        frame = shown(tmp_path / "a.mkv")[0]
    white = srgb(np.array(0.8 + 0.2 * (1 - np.exp(-1))))
    assert np.abs(frame[:, :16] - white).max() <= 1
    assert frame[:, 16:].min() == 255


def test_hdr_warns_once_for_a_file(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.height, stream.width, stream.pix_fmt = 16, 240, "yuv444p10le"
        stream.codec_context.colorspace, stream.codec_context.color_trc = BT2020, PQ
        for index in range(3):
            frame = frame_of(random_planes(10, False, seed=index), "yuv444p10le")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert len(shown(tmp_path / "a.mkv")) == 3
    assert [warning.category for warning in caught] == [MediaWarning]


@pytest.mark.parametrize(("primaries", "name"), [(BT2020, "BT.2020"), (P3, "Display P3")])
def test_wide_primaries_become_those_of_bt709(tmp_path, primaries, name):
    planes = random_planes(10, False)
    write(tmp_path / "a.mkv", frame_of(planes, "yuv444p10le"), BT2020, False, SDR10, primaries)
    with pytest.warns(MediaWarning, match=f"^path: x has the wide color primaries {name}"):
        frames = shown(tmp_path / "a.mkv")
    light = rgb_of(planes, 10, False, BT2020).clip(0, 1) ** 2.4
    want = 255 * (light @ TO_BT709[primaries].T).clip(0, 1) ** (1 / 2.4)
    assert np.abs(frames[0] - want).max() < 3 and np.abs(frames[0] - want).mean() < 0.3
    assert np.ptp(frames[0][:4].astype(int), axis=-1).max() <= 1  # grays stay gray


def test_gray_of_a_cinema_stays_gray(tmp_path):
    planes = random_planes(10, False)
    planes[1:] = 512
    write(tmp_path / "a.mkv", frame_of(planes, "yuv444p10le"), BT709, False, 1, 11)
    with pytest.warns(MediaWarning, match="DCI-P3"):
        frame = shown(tmp_path / "a.mkv")[0]
    assert np.abs(frame - 255 * rgb_of(planes, 10, False, BT709).clip(0, 1)).max() <= 1
