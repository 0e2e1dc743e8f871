"""Animated PNG and GIF files, composed as their specifications say: against formulas, and FFmpeg's decoders."""

import itertools
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from atoken.processing.media_reading_atoken import read_video
from atoken.processing.media_suffixes_atoken import media_kind
from atoken.processing.media_warnings_atoken import MediaWarning

WIDTH, HEIGHT = 20, 14
# left, top, width, height of four layers.
BOXES = [(0, 0, WIDTH, HEIGHT), (4, 3, 8, 6), (6, 5, 10, 7), (1, 1, 5, 5)]
INSET = [(2, 2, 10, 8), *BOXES[1:]]
DURATIONS = [40, 400, 40, 800]
COLORS = [(250, 0, 0), (0, 250, 0), (0, 0, 250), (9, 9, 9)]


def on_white(rgba: np.ndarray) -> np.ndarray:
    alpha = rgba[..., 3:] / 255
    return rgba[..., :3] * alpha + 255 * (1 - alpha)


def decoded_by_ffmpeg(path: Path) -> np.ndarray:
    import av

    with av.open(str(path)) as container:
        return np.stack(
            [on_white(frame.to_ndarray(format="rgba").astype(float)) for frame in container.decode(video=0)]
        )


def write_apng(path: Path, alphas, disposals, blends, default=None, boxes=BOXES, depth=8, is_gray=False) -> None:
    """Four layers of one color each; `default` is the color of a picture in front that no animation shows."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    def pixels(width: int, height: int, rgba) -> bytes:
        pixel = b"".join(bytes([value] * (depth // 8)) for value in (rgba[:1] if is_gray else rgba))
        return zlib.compress((b"\0" + pixel * width) * height)

    numbers = itertools.count()
    data = b"\x89PNG\r\n\x1a\n" + chunk(
        b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, depth, 0 if is_gray else 6, 0, 0, 0)
    )
    data += chunk(b"acTL", struct.pack(">II", 4, 0))
    is_first = default is None
    if default is not None:
        data += chunk(b"IDAT", pixels(WIDTH, HEIGHT, default))
    for (left, top, width, height), color, alpha, duration, disposal, blend in zip(
        boxes, COLORS, alphas, DURATIONS, disposals, blends, strict=True
    ):
        data += chunk(
            b"fcTL",
            struct.pack(">IIIIIHHBB", next(numbers), width, height, left, top, duration, 1000, disposal, blend),
        )
        content = pixels(width, height, (*color, alpha))
        data += chunk(b"IDAT", content) if is_first else chunk(b"fdAT", struct.pack(">I", next(numbers)) + content)
        is_first = False
    path.write_bytes(data + chunk(b"IEND", b""))


def composed_apng(alphas, disposals, blends, boxes=BOXES) -> np.ndarray:
    """The rules of the specification in float64."""
    canvas, shown = np.zeros((HEIGHT, WIDTH, 4)), []
    for index, ((left, top, width, height), color) in enumerate(zip(boxes, COLORS, strict=True)):
        before, part = canvas.copy(), canvas[top : top + height, left : left + width]
        over, under = alphas[index] / 255, part[..., 3:] / 255
        if blends[index] == 0:
            part[:] = (*color, alphas[index])
        else:
            alpha = over + under * (1 - over)
            mixed = np.array(color) * over + part[..., :3] * under * (1 - over)
            part[..., :3] = np.divide(mixed, alpha, out=np.zeros_like(mixed), where=alpha > 0)
            part[..., 3:] = alpha * 255
        shown.append(on_white(canvas))
        if disposals[index] == 1 or (disposals[index] == 2 and index == 0):
            canvas[top : top + height, left : left + width] = 0
        elif disposals[index] == 2:
            canvas = before
    return np.stack(shown)


@pytest.mark.parametrize(("alpha", "default"), [(255, None), (128, (7, 7, 7, 255)), (0, None)])
def test_animated_png(tmp_path, alpha, default):
    path = tmp_path / "a.png"
    for disposals in itertools.product((0, 1, 2), repeat=3):
        for blends in itertools.product((0, 1), repeat=3):
            case = (255, alpha, alpha, alpha), (*disposals, 0), (0, *blends)
            write_apng(path, *case, default)
            frames, metadata = read_video(path)
            np.testing.assert_allclose(frames, composed_apng(*case), atol=1.01)
            np.testing.assert_allclose(frames, decoded_by_ffmpeg(path), atol=1.5)
            assert metadata.frame_times == [0, 0.04, 0.44, 0.48] and metadata.duration == 1.28
    assert media_kind(path) == "video"


def test_deep_animated_png_says_what_it_loses(tmp_path):
    case = (255, 128, 255, 0), (0, 2, 1, 0), (0, 1, 0, 1)
    write_apng(tmp_path / "a.png", *case, depth=16)
    with pytest.warns(MediaWarning, match="a.png.*16 bits per channel"):
        frames, _ = read_video(tmp_path / "a.png")
    np.testing.assert_allclose(frames, composed_apng(*case), atol=1.01)
    write_apng(tmp_path / "a.png", (255,) * 4, (0,) * 4, (0,) * 4, depth=16, is_gray=True)
    with pytest.warns(MediaWarning, match="16 bits"):
        frames, _ = read_video(tmp_path / "a.png")
    assert frames[:, 4, 4].tolist() == [[250] * 3, [0] * 3, [0] * 3, [9] * 3]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_modes_of_animated_png(tmp_path, mode):
    ramp = np.add.outer(np.arange(12), np.arange(16)).astype(np.uint8) * 9
    pictures = [Image.fromarray(ramp // step).convert(mode) for step in (1, 2, 3)]
    expected = [np.asarray(picture.convert("RGB")) for picture in pictures]
    pictures[0].save(tmp_path / "a.png", save_all=True, append_images=pictures[1:], duration=50)
    assert np.array_equal(read_video(tmp_path / "a.png")[0], np.stack(expected))


@pytest.mark.parametrize("at", [0.3, 0.7, 0.97])
@pytest.mark.parametrize("suffix", [".png", ".gif"])
def test_damage_is_named(tmp_path, suffix, at):
    write = write_apng if suffix == ".png" else write_gif
    write(tmp_path / f"a{suffix}", *((255, 128, 128, 255), (0,) * 4, (0,) * 4)[: 3 if suffix == ".png" else 2])
    data = (tmp_path / f"a{suffix}").read_bytes()
    (tmp_path / f"a{suffix}").write_bytes(data[: int(at * len(data))])
    with pytest.raises(ValueError, match=rf"a\{suffix}.*truncated or corrupt"):
        read_video(tmp_path / f"a{suffix}")
    if suffix == ".png":
        broken = bytearray(data)
        broken[int(at * len(data))] ^= 255
        (tmp_path / "a.png").write_bytes(broken)
        with pytest.raises(ValueError, match="a.png"):
            read_video(tmp_path / "a.png")


def write_gif(path: Path, holes, disposals, boxes=BOXES, background: int = 0, palettes: bool = False) -> None:
    """Four layers of one color each, in a chessboard with transparent fields where there are `holes`."""

    def compressed(codes: list[int]) -> bytes:
        # A clear code in front of every two keeps all codes at three bits.
        pairs = [codes[at : at + 2] for at in range(0, len(codes), 2)]
        bits = "".join(f"{code:03b}"[::-1] for pair in pairs for code in (4, *pair))
        bits += f"{4:03b}"[::-1] + f"{5:03b}"[::-1]
        data = bytes(int(bits[at : at + 8][::-1], 2) for at in range(0, len(bits), 8))
        blocks = [data[at : at + 255] for at in range(0, len(data), 255)]
        return b"\x02" + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"

    table = bytes(value for color in COLORS for value in color)
    data = b"GIF89a" + struct.pack("<HHBBB", WIDTH, HEIGHT, 0xF1, background, 0) + table
    for index, (left, top, width, height) in enumerate(boxes):
        fields = np.add.outer(np.arange(height), np.arange(width)) % 2 if holes[index] else np.zeros((height, width))
        codes = np.where(fields == 1, 3, index % 3).astype(int).ravel().tolist()
        flags = disposals[index] << 2 | bool(holes[index])
        data += b"\x21\xf9\x04" + struct.pack("<BHB", flags, DURATIONS[index] // 10, 3) + b"\0"
        data += b"\x2c" + struct.pack("<HHHHB", left, top, width, height, 0x81 if palettes else 0)
        data += (table if palettes else b"") + compressed(codes)
    path.write_bytes(data + b"\x3b")


def composed_gif(holes, disposals, boxes, background: int) -> np.ndarray:
    """What players show: a layer without transparent color is cleared to the background color, others to nothing."""

    def clear(index: int) -> tuple[int, ...]:
        return (0, 0, 0, 0) if holes[index] else (*COLORS[background], 255)

    canvas, shown = np.zeros((HEIGHT, WIDTH, 4)), []
    canvas[:] = clear(0)
    for index, (left, top, width, height) in enumerate(boxes):
        before, part = canvas.copy(), canvas[top : top + height, left : left + width]
        fields = np.add.outer(np.arange(height), np.arange(width)) % 2 == 0
        part[fields if holes[index] else np.ones_like(fields)] = (*COLORS[index % 3], 255)
        shown.append(on_white(canvas))
        if disposals[index] == 2:
            part[:] = clear(index)
        elif disposals[index] == 3:
            canvas = before
    return np.stack(shown)


@pytest.mark.parametrize(("boxes", "background"), [(BOXES, 0), (INSET, 2)])
def test_animated_gif(tmp_path, boxes, background):
    path = tmp_path / "a.gif"
    for disposals in itertools.product((0, 1, 2, 3), repeat=3):
        for holes in ((0, 0, 0, 0), (1, 1, 1, 1), (0, 1, 0, 1), (1, 0, 1, 0), (0, 0, 1, 0)):
            write_gif(path, holes, (*disposals, 0), boxes, background, palettes=disposals[0] == 1)
            frames, metadata = read_video(path)
            assert np.array_equal(frames, composed_gif(holes, (*disposals, 0), boxes, background))
            assert np.array_equal(frames, decoded_by_ffmpeg(path))
            assert metadata.frame_times == [0, 0.04, 0.44, 0.48] and metadata.duration == 1.28


@pytest.mark.parametrize("interlace", [0, 1])
def test_gif_of_pillow(tmp_path, interlace):
    noise = np.random.default_rng(0).integers(0, 256, (3, 33, 47), dtype=np.uint8)
    pictures = [Image.fromarray(frame) for frame in noise]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=70, interlace=interlace)
    frames, metadata = read_video(tmp_path / "a.gif")
    assert np.array_equal(frames, noise[..., None].repeat(3, 3)) and metadata.fps == pytest.approx(1 / 0.07)


def test_animated_avif(tmp_path):
    pictures = [Image.new("RGB", (32, 24), (level,) * 3) for level in (0, 80, 160, 240)]
    pictures[0].save(tmp_path / "a.avif", save_all=True, append_images=pictures[1:], duration=100)
    frames, metadata = read_video(tmp_path / "a.avif")
    np.testing.assert_allclose(frames[:, 5, 5, 0], [0, 80, 160, 240], atol=2)
    assert metadata.fps == pytest.approx(10) and media_kind(tmp_path / "a.avif") == "video"
    pictures[0].save(tmp_path / "still.avif")
    with pytest.raises(ValueError, match="still.avif.*still image.*images="):
        read_video(tmp_path / "still.avif")
    assert media_kind(tmp_path / "still.avif") == "image"


@pytest.mark.parametrize(("brand", "says"), [(b"heic", "still image.*images="), (b"hevc", "HEIF image sequence")])
def test_heif_is_named(tmp_path, brand, says):
    (tmp_path / "a.heic").write_bytes(struct.pack(">I", 24) + b"ftyp" + brand + b"\0\0\0\0mif1heic" + bytes(100))
    with pytest.raises(ValueError, match=f"a.heic.*{says}"):
        read_video(tmp_path / "a.heic")
