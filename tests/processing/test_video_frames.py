"""Frames of a video as they are shown: which stream, turned, square, cut, deinterlaced, on white."""

import io
import struct
import warnings
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from atoken.processing.media_warnings_atoken import MediaWarning
from atoken.processing.video_frames_atoken import ShownFrames, choose_stream

from .samples import exif_bytes, photo, set_matrix

ONE = 1 << 16
# What is done to a stored picture, and the matrix a, b, c, d by which column and row x, y go to a x + c y, b x + d y.
ORIENTATIONS = {
    "as it is": (ONE, 0, 0, ONE),
    "mirrored left to right": (-ONE, 0, 0, ONE),
    "half a turn": (-ONE, 0, 0, -ONE),
    "mirrored top to bottom": (ONE, 0, 0, -ONE),
    "transposed": (0, ONE, ONE, 0),
    "quarter turn clockwise": (0, ONE, -ONE, 0),
    "mirrored across": (0, -ONE, -ONE, 0),
    "quarter turn counter-clockwise": (0, -ONE, ONE, 0),
}
MATRICES = list(ORIENTATIONS.values())  # in the order of EXIF's orientations 1 to 8
IDENTITY = MATRICES[0]


def shown(path) -> np.ndarray:
    """All frames of a file (T, H, W, 3)."""
    with av.open(str(path) if not hasattr(path, "seek") else path) as container:
        frames = ShownFrames(choose_stream(container, "path: x"), "path: x")
        return np.stack([frames.to_rgb(frame) for frame in frames.decode(container)])


def silently_shown(path) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("error", MediaWarning)
        return shown(path)


def plain(path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def write(
    path, frames, codec="libx264rgb", pixel_format="rgb24", aspect=None, source_format="rgb24", tagged=False, **options
):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], pixel_format
        stream.options = {key.replace("_", "-"): str(value) for key, value in options.items()}
        if codec == "mpeg4":
            stream.codec_context.bit_rate, stream.codec_context.qmin, stream.codec_context.qmax = 10**7, 1, 2
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if tagged:
            stream.codec_context.color_primaries, stream.codec_context.color_trc = 1, 13
            stream.codec_context.color_range = 2
        if source_format == "rgba":
            stream.metadata["alpha_mode"] = "1"
        for index, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format=source_format)
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def oriented(pixels, a, b, c, d):
    """Every pixel put where the matrix says."""
    rows, columns = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
    x, y = (a * columns + c * rows) // ONE, (b * columns + d * rows) // ONE
    x, y = x - x.min(), y - y.min()
    result = np.zeros((y.max() + 1, x.max() + 1, 3), pixels.dtype)
    result[y, x] = pixels
    return result


def blocks(height=48, width=64, size=16, seed=0):
    """Flat squares that a lossy codec keeps almost exactly."""
    colors = np.random.default_rng(seed).integers(30, 226, (height // size, width // size, 3))
    return colors.repeat(size, 0).repeat(size, 1).astype(np.uint8)


@pytest.mark.parametrize("matrix", MATRICES, ids=ORIENTATIONS)
@pytest.mark.parametrize(
    ("name", "codec", "pixel_format", "tolerance"),
    [
        ("a.mp4", "libx264rgb", "rgb24", 0),
        ("a.mov", "qtrle", "rgb24", 0),
        ("a.mov", "png", "rgb24", 0),
        ("a.mp4", "mpeg4", "yuv420p", 12),
    ],
)
def test_orientation_of_the_container(tmp_path, name, codec, pixel_format, tolerance, matrix):
    stored = blocks()
    options = {"crf": 0} if codec == "libx264rgb" else {}
    set_matrix(write(tmp_path / name, [stored] * 2, codec, pixel_format, **options), *matrix)
    frames = silently_shown(tmp_path / name)
    want = oriented(stored, *matrix)
    assert frames.shape == (2, *want.shape)
    # Colors run into each other at the edges of halved chroma: compare the middles.
    inner = np.abs(frames.astype(int) - want)[:, 4::16, 4::16] if tolerance else np.abs(frames.astype(int) - want)
    assert inner.max() <= tolerance


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_motion_jpeg_by_exif(tmp_path, orientation):
    """Frames whose other EXIF data is of a kind that PyAV does not know."""
    stored, file = blocks(), io.BytesIO()
    Image.fromarray(stored).save(file, "jpeg", quality=95, subsampling=0, exif=b"Exif\0\0" + exif_bytes(orientation))
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.height, stream.width, stream.pix_fmt = *stored.shape[:2], "yuvj444p"
        for index in range(2):
            packet = av.Packet(file.getvalue())
            packet.stream, packet.pts, packet.dts = stream, index, index
            packet.time_base, packet.is_keyframe = Fraction(1, 10), True
            container.mux(packet)
    want = oriented(stored, *MATRICES[orientation - 1])
    frames = silently_shown(tmp_path / "a.mkv")
    assert frames.shape[1:] == want.shape and np.abs(frames - want.astype(int)).max() <= 12


@pytest.mark.parametrize(("turn", "flip", "matrix"), [(0, "horizontal", 1), (90, "", 7), (270, "", 5)])
def test_orientation_in_h264_itself(tmp_path, turn, flip, matrix):
    stored = blocks()
    write(tmp_path / "a.mp4", [stored] * 2, crf=0)
    options = f"display_orientation=insert:rotate={turn}" + (f":flip={flip}" if flip else "")
    refilter(tmp_path / "a.mp4", tmp_path / "b.mp4", f"h264_metadata={options}")
    assert np.array_equal(silently_shown(tmp_path / "b.mp4")[0], oriented(stored, *MATRICES[matrix]))


def refilter(source, target, bitstream_filter):
    """Copies a video through a filter of its packets."""
    with av.open(str(source)) as given, av.open(str(target), "w") as container:
        stream = container.add_stream_from_template(given.streams.video[0])
        chain = av.BitStreamFilterContext(bitstream_filter, given.streams.video[0], stream)
        for packet in given.demux(given.streams.video[0]):
            for changed in chain.filter(packet if packet.size else None):
                changed.stream = stream
                container.mux(changed)


def test_other_angles_are_an_error_and_an_empty_matrix_is_none(tmp_path):
    stored = photo(16, 32)
    write(tmp_path / "a.mp4", [stored], crf=0)
    set_matrix(tmp_path / "a.mp4", 46341, 46341, -46341, 46341)
    with pytest.raises(ValueError, match="^path: x is to be shown turned by -45 degrees; expected a multiple of 90"):
        shown(tmp_path / "a.mp4")
    set_matrix(tmp_path / "a.mp4", 0, 0, 0, 0)
    assert np.array_equal(silently_shown(tmp_path / "a.mp4")[0], stored)


@pytest.mark.parametrize(
    ("aspect", "width", "height"), [((4, 3), 64, 32), ((1, 2), 48, 64), ((64, 45), 68, 32), ((1, 1), 48, 32)]
)
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov", "a.ts"])
def test_pixels_become_square_and_no_side_shrinks(tmp_path, name, aspect, width, height):
    codec, pixel_format = ("mpeg4", "yuv420p") if name == "a.ts" else ("libx264rgb", "rgb24")
    stored = blocks(32, 48)
    write(tmp_path / name, [stored], codec, pixel_format, Fraction(*aspect))
    frame = silently_shown(tmp_path / name)[0]
    assert frame.shape == (height, width, 3)
    # The middles of the squares stay the middles of what they become.
    rows, columns = ((np.arange(n // 16) * 16 + 8) * size // n for n, size in ((32, height), (48, width)))
    assert np.abs(frame[np.ix_(rows, columns)].astype(int) - stored[8::16, 8::16]).max() <= 14


def test_pixels_become_square_before_they_are_turned(tmp_path):
    stored = blocks(32, 48)
    set_matrix(write(tmp_path / "a.mp4", [stored], aspect=Fraction(4, 3), crf=0), *MATRICES[5])
    frame = silently_shown(tmp_path / "a.mp4")[0]
    assert frame.shape == (64, 32, 3)
    assert np.abs(frame[8::21, 8::16].astype(int) - oriented(stored, *MATRICES[5])[8::16, 8::16]).max() <= 14


def test_aspect_of_the_container_wins_and_an_absurd_one_is_named(tmp_path):
    write(tmp_path / "a.mp4", [blocks(32, 48)], aspect=Fraction(4, 3), crf=0)
    data = bytearray((tmp_path / "a.mp4").read_bytes())
    at = data.index(b"pasp") + 4
    data[at : at + 8] = struct.pack(">II", 1, 2)
    (tmp_path / "a.mp4").write_bytes(data)
    assert silently_shown(tmp_path / "a.mp4").shape == (1, 64, 48, 3)
    data[at : at + 8] = struct.pack(">II", 1, 1000)
    (tmp_path / "a.mp4").write_bytes(data)
    with pytest.warns(MediaWarning, match="^path: x says that its pixels are 1/1000 as wide as high"):
        assert shown(tmp_path / "a.mp4").shape == (1, 32, 48, 3)


def element(number: str, value: int) -> bytes:
    return bytes.fromhex(number) + bytes([0x81, value])


def set_video_elements(path, elements: bytes) -> None:
    """Puts elements into the video settings of a Matroska file by PyAV, in place of those with its colors."""
    data = path.read_bytes()
    size = element("b0", 64) + element("ba", 48)
    start = data.index(size)
    old_length = data[start - 1] & 0x7F
    spare = data.index(b"\xec\x01", start)
    end = spare + 9 + data[spare + 8]
    assert data[start - 2] == 0xE0 and start + old_length <= spare < start + old_length + 5
    body = size + elements
    padding = end - start - len(body)
    body += bytes([0xEC, 0x80 | (padding - 2)]) + bytes(padding - 2)
    path.write_bytes(data[: start - 1] + bytes([0x80 | len(body)]) + body + data[end:])


@pytest.mark.parametrize(("display", "width"), [((), 50), ((50, 42), 50), ((100, 42), 100)])
def test_crop_of_matroska(tmp_path, display, width):
    stored = photo(48, 64)
    write(tmp_path / "a.mkv", [stored] * 2, tagged=True, crf=0)
    crop = element("54AA", 2) + element("54BB", 4) + element("54CC", 6) + element("54DD", 8)
    sizes = [element(number, value) for number, value in zip(("54B0", "54BA"), display, strict=False)]
    set_video_elements(tmp_path / "a.mkv", crop + b"".join(sizes))
    frames = silently_shown(tmp_path / "a.mkv")
    assert frames.shape == (2, 42, width, 3)
    if width == 50:
        assert np.array_equal(frames[0], stored[4:-2, 6:-8])


def test_crop_inside_h264_and_files_in_memory(tmp_path):
    stored = photo(34, 50)
    write(tmp_path / "a.mp4", [stored], crf=0)
    assert np.array_equal(silently_shown(io.BytesIO((tmp_path / "a.mp4").read_bytes()))[0], stored)


def transparent(height=32, width=64):
    """Flat colors under alpha 0, 255, 128 and 37, (H, W, 4)."""
    pixels = np.zeros((height, width, 4), np.uint8)
    pixels[..., :3] = (200, 90, 30)
    pixels[height // 2 :, :, :3] = (20, 130, 220)
    pixels[..., 3] = np.repeat([0, 255, 128, 37], width // 4)
    return pixels


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format", "tolerance"),
    [
        ("a.mov", "qtrle", "argb", 0),
        ("a.mov", "png", "rgba", 0),
        ("a.mov", "png", "rgba64be", 1),
        ("a.mkv", "ffv1", "bgra", 0),
        ("a.mkv", "ffv1", "yuva420p", 2),
        ("a.mkv", "ffv1", "yuva444p10le", 2),
        ("a.mkv", "ffv1", "gbrap10le", 1),
        ("a.mkv", "ffv1", "gbrap12le", 1),
        ("a.mkv", "ffv1", "gbrap16le", 1),
        ("a.avi", "utvideo", "gbrap", 0),
        ("a.avi", "rawvideo", "bgra", 0),
        ("a.mov", "prores_ks", "yuva444p10le", 4),
        ("a.webm", "libvpx-vp9", "yuva420p", 5),
        ("a.webm", "libvpx", "yuva420p", 5),
    ],
)
def test_transparency_is_put_on_white(tmp_path, name, codec, pixel_format, tolerance):
    pixels = transparent()
    options = {"crf": 4, "auto_alt_ref": 0} if "vpx" in codec else {}
    write(tmp_path / name, [pixels] * 4, codec, pixel_format, source_format="rgba", **options)
    color, alpha = pixels[..., :3].astype(float), pixels[..., 3:] / 255
    want = np.floor(color * alpha + 255 * (1 - alpha) + 0.5)
    frames = silently_shown(tmp_path / name)
    middles = np.s_[:, 4::8, 4::16]  # of squares: lossy codecs blur their edges
    assert frames.shape == (4, 32, 64, 3)
    assert np.abs(frames - want)[middles].max() <= tolerance


def test_opaque_frames_of_a_transparent_stream_are_as_the_plain_decoder_gives_them(tmp_path):
    pixels = np.dstack([blocks(), np.full((48, 64), 255, np.uint8)])
    write(tmp_path / "a.webm", [pixels] * 3, "libvpx-vp9", "yuva420p", source_format="rgba", crf=1, auto_alt_ref=0)
    assert np.array_equal(silently_shown(tmp_path / "a.webm"), plain(tmp_path / "a.webm"))


def test_the_unused_byte_of_an_uncompressed_avi_is_no_transparency(tmp_path):
    pixels = np.dstack([blocks(), np.zeros((48, 64), np.uint8)])
    write(tmp_path / "a.avi", [pixels], "rawvideo", "bgra", source_format="rgba")
    assert np.array_equal(silently_shown(tmp_path / "a.avi")[0], pixels[..., :3])


def test_a_transparent_palette_is_put_on_white(tmp_path):
    picture, file = Image.new("P", (32, 16)), io.BytesIO()
    picture.putpalette([250, 0, 0, 0, 250, 0])
    picture.putdata([0, 1] * 256)
    picture.save(file, "png", transparency=bytes([51, 255]))
    with av.open(str(tmp_path / "a.mov"), "w") as container:
        stream = container.add_stream("png", rate=10)
        stream.height, stream.width, stream.pix_fmt = 16, 32, "pal8"
        packet = av.Packet(file.getvalue())
        packet.stream, packet.pts, packet.dts, packet.time_base = stream, 0, 0, Fraction(1, 10)
        container.mux(packet)
    assert silently_shown(tmp_path / "a.mov")[0, 0, :2].tolist() == [[254, 204, 204], [0, 250, 0]]


def moving(frames=20, height=64, width=96):
    """A slanted wave with a box that moves, (T, H, W, 3)."""
    rows, columns = np.mgrid[:height, :width]
    times = np.arange(frames)[:, None, None]
    gray = 128 + 100 * np.sin((columns * 0.5 + rows * 0.9 - times * 4) / 8)
    gray = np.where((np.abs(columns - 10 - 3 * times) < 8) & (np.abs(rows - 32) < 14), 240, gray)
    return gray.astype(np.uint8)[..., None].repeat(3, -1)


def error(frames, want):
    return np.sqrt(np.mean((frames.astype(float) - want) ** 2))


INTERLACED = 0x20040000  # the encoder's flags for interlaced transforms and motion


@pytest.mark.parametrize("order", ["tff", "bff"])
@pytest.mark.parametrize(
    ("name", "codec", "pixel_format"),
    [
        ("a.mp4", "libx264", "yuv420p"),
        ("a.mkv", "libx264", "yuv422p10le"),
        ("a.ts", "mpeg2video", "yuv420p"),
        ("a.avi", "mpeg4", "yuv420p"),
        ("a.mkv", "ffv1", "yuv422p"),
        ("a.mov", "prores_ks", "yuv422p10le"),
        ("a.mov", "rawvideo", "uyvy422"),
        # These cannot say it themselves, only their container can.
        ("a.mov", "mjpeg", "yuvj420p"),
        ("a.mov", "qtrle", "argb"),
    ],
)
def test_interlaced_video_shows_the_moments_of_its_first_fields(tmp_path, name, codec, pixel_format, order):
    moments = moving()
    woven = moments[::2].copy()
    second = 1 if order == "tff" else 0
    woven[:, second::2] = moments[1::2, second::2]
    write_interlaced(tmp_path / name, woven, codec, pixel_format, order)
    frames = silently_shown(tmp_path / name)
    assert frames.shape == woven.shape
    assert error(plain(tmp_path / name), moments[::2]) > 25
    assert error(frames, moments[::2]) < 6
    with av.open(str(tmp_path / name)) as container, av.open(str(tmp_path / name)) as again:
        stream = container.streams.video[0]
        times = [(f.pts, f.time_base, f.duration) for f in ShownFrames(stream, "x").decode(container)]
        assert times == [(f.pts, f.time_base, f.duration) for f in again.decode(video=0)]


def write_interlaced(path, frames, codec, pixel_format, order):
    """Writes frames that are marked as interlaced."""
    graph = None
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], pixel_format
        stream.codec_context.flags |= INTERLACED if codec not in ("ffv1", "rawvideo", "mjpeg", "qtrle") else 0
        stream.codec_context.bit_rate = 4_000_000
        stream.options = {"field_order": "tt" if order == "tff" else "bb"}
        if codec == "libx264":
            stream.options = {**stream.options, "x264-params": f"{order}=1"}
        for index, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=pixel_format)
            frame.pts, frame.time_base = index, Fraction(1, 10)
            if graph is None:
                graph = av.filter.Graph()
                nodes = graph.add_buffer(template=frame), graph.add("setfield", order), graph.add("buffersink")
                graph.link_nodes(*nodes).configure()
            graph.push(frame)
            container.mux(stream.encode(graph.vpull()))
        container.mux(stream.encode())


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.ts", "mpeg2video"), ("a.webm", "libvpx-vp9")])
def test_progressive_video_passes_as_it_is(tmp_path, name, codec):
    write(tmp_path / name, moving(6), codec, "yuv420p")
    assert np.array_equal(silently_shown(tmp_path / name), plain(tmp_path / name))


def test_frames_that_contradict_their_container_are_kept_and_named(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
        stream.options = {"field_order": "tt"}
        for pixels in moving(4):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    with pytest.warns(MediaWarning, match="interlaced by its container, but not by its frames"):
        frames = shown(tmp_path / "a.mkv")
    assert np.array_equal(frames, plain(tmp_path / "a.mkv"))


def write_streams(path, sizes, default=None, cover=None):
    with av.open(str(path), "w") as container:
        streams = []
        for index, (height, width) in enumerate(sizes):
            stream = container.add_stream("mjpeg" if index == cover else "libx264rgb", rate=10)
            stream.height, stream.width = height, width
            stream.pix_fmt = "yuvj444p" if index == cover else "rgb24"
            kinds = av.stream.Disposition
            kind = kinds.attached_pic if index == cover else kinds.default if index == default else kinds(0)
            stream.disposition = kind.value
            streams.append(stream)
        for index, (stream, (height, width)) in enumerate(zip(streams, sizes, strict=True)):
            frame = av.VideoFrame.from_ndarray(photo(height, width, index), format="rgb24")
            container.mux(stream.encode(frame) + stream.encode())


@pytest.mark.parametrize(
    ("sizes", "default", "cover", "chosen"),
    [
        ([(32, 48), (16, 32)], 1, None, 1),
        ([(32, 48), (16, 32)], 0, None, 0),
        ([(16, 32), (32, 48)], None, None, 1),
        ([(32, 48), (32, 48)], None, None, 0),
        ([(64, 96), (16, 32)], None, 0, 1),
    ],
)
def test_stream_that_players_show(tmp_path, sizes, default, cover, chosen):
    name = "a.mkv" if cover is None else "a.mp4"
    write_streams(tmp_path / name, sizes, default, cover)
    with av.open(str(tmp_path / name)) as container:
        assert len(container.streams.video) == len(sizes)
        stream = choose_stream(container, "path: x")
        assert (stream.codec_context.height, stream.codec_context.width) == sizes[chosen]


def test_no_stream_is_an_error(tmp_path):
    with av.open(str(tmp_path / "a.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    with (
        av.open(str(tmp_path / "a.wav")) as container,
        pytest.raises(ValueError, match="^path: x holds no video stream; expected a video"),
    ):
        choose_stream(container, "path: x")


def test_a_codec_that_is_not_known_is_an_error(tmp_path):
    write(tmp_path / "a.mp4", [photo(16, 32)])
    data = (tmp_path / "a.mp4").read_bytes().replace(b"avc1", b"zzzz")
    (tmp_path / "a.mp4").write_bytes(data)
    with (
        av.open(str(tmp_path / "a.mp4")) as container,
        pytest.raises(ValueError, match="^path: x is encoded in a way that this build of PyAV does not decode"),
    ):
        choose_stream(container, "path: x")
