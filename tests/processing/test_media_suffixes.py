"""What kind of media a file holds, by its suffix or a look inside; every suffix of the list is written and read."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from atoken.processing.media_reading_atoken import open_image, read_video
from atoken.processing.media_suffixes_atoken import IMAGE_SUFFIXES, MEDIA_SUFFIXES, VIDEO_SUFFIXES, media_kind

from .samples import photo


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.JPG", "image"), ("a.avif", "image"), ("a.mov", "video"), ("a.GLB", "object"), ("a.txt", None), ("a", None)],
)
def test_suffixes_tell(name, kind):
    assert media_kind(name) == kind
    assert (kind is not None) == (f".{name.rpartition('.')[2].lower()}" in MEDIA_SUFFIXES)


@pytest.mark.parametrize("suffix", ["avif", "gif", "png", "webp"])
def test_animations_are_videos(tmp_path, suffix):
    frames = [Image.fromarray(np.roll(photo(16, 16), shift, axis=0)) for shift in (0, 3, 7)]
    frames[0].save(tmp_path / f"still.{suffix}")
    frames[0].save(tmp_path / f"moving.{suffix}", save_all=True, append_images=frames[1:], duration=100)
    assert media_kind(tmp_path / f"still.{suffix}") == "image"
    assert media_kind(tmp_path / f"moving.{suffix}") == "video"


def test_a_damaged_picture_counts_as_an_image(tmp_path):
    (tmp_path / "a.png").write_bytes(b"hello")
    assert media_kind(tmp_path / "a.png") == "image"


# Pillow writes all image formats but these, which its plugin writes.
HEIF = (".heic", ".heif", ".hif")
MODES = {".pbm": "1", ".xbm": "1", ".pgm": "L", ".pfm": "F"}


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
def test_image_suffixes_are_read(tmp_path, suffix):
    if suffix in HEIF:
        pytest.importorskip("pillow_heif", reason="HEIC is written by pillow-heif").register_heif_opener()
    path = tmp_path / f"a{suffix}"
    pixels = np.full((64, 64, 3), 255, np.uint8)
    pixels[:, 32:] = 0
    image = Image.fromarray(pixels).convert(MODES.get(suffix, "RGB"))
    image.save(path, **({"format": "HEIF"} if suffix in HEIF else {}))
    assert media_kind(path) == "image"
    read = open_image(path).float()
    assert read.shape[0] == 3 and read.shape[1] == read.shape[2]
    middle, side = read.shape[1] // 2, read.shape[2]
    assert (read[:, middle, side // 8] > 200).all() and (read[:, middle, -side // 8] < 60).all()


# suffix -> (FFmpeg's muxer, encoder)
_MPEG2, _H264, _H265 = "mpeg2video", "libx264", "libx265"
WRITERS = {
    **dict.fromkeys((".264", ".avc", ".h264"), ("h264", _H264)),
    **dict.fromkeys((".265", ".h265", ".hevc"), ("hevc", _H265)),
    **dict.fromkeys((".3g2", ".3gp"), ("3gp", "mpeg4")),
    **dict.fromkeys((".asf", ".wmv"), ("asf", "wmv2")),
    **dict.fromkeys((".avi", ".divx"), ("avi", "mpeg4")),
    ".dv": ("dv", "dvvideo"),
    **dict.fromkeys((".f4v", ".gifv", ".m4v", ".mp4"), ("mp4", _H264)),
    ".flv": ("flv", "flv"),
    ".ivf": ("ivf", "libvpx"),
    ".m1v": ("mpeg1video", "mpeg1video"),
    **dict.fromkeys((".m2p", ".mod", ".mpeg", ".mpg"), ("mpeg", _MPEG2)),
    ".mpe": ("mpeg", "mpeg1video"),
    ".vob": ("vob", _MPEG2),
    **dict.fromkeys((".m2v", ".mpv"), ("mpeg2video", _MPEG2)),
    **dict.fromkeys((".m2t", ".m2ts", ".mts", ".tod", ".ts"), ("mpegts", _H264)),
    **dict.fromkeys((".mjpeg", ".mjpg"), ("mjpeg", "mjpeg")),
    **dict.fromkeys((".mk3d", ".mkv"), ("matroska", _H264)),
    **dict.fromkeys((".mov", ".qt"), ("mov", _H264)),
    ".mxf": ("mxf", _MPEG2),
    ".nut": ("nut", "mpeg4"),
    ".obu": ("obu", "libsvtav1"),
    **dict.fromkeys((".ogm", ".ogv"), ("ogg", "libvpx")),
    **dict.fromkeys((".rm", ".rmvb"), ("rm", "rv20")),
    ".webm": ("webm", "libvpx-vp9"),
    ".wtv": ("wtv", _MPEG2),
    ".y4m": ("yuv4mpegpipe", "wrapped_avframe"),
}


def write_half_white(path, muxer, encoder, height, width) -> None:
    """Writes a clip of five frames, white on the left and black on the right."""
    import av

    pixels = np.full((height, width, 3), 255, np.uint8)
    pixels[:, width // 2 :] = 0
    with av.open(str(path), "w", format=muxer) as container:
        stream = container.add_stream(encoder, rate=25)
        stream.height, stream.width = height, width
        stream.pix_fmt = "yuvj420p" if encoder == "mjpeg" else "yuv420p"
        for _ in range(5):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            container.mux(stream.encode(frame.reformat(format=stream.pix_fmt)))
        container.mux(stream.encode())


@pytest.mark.filterwarnings("ignore::atoken.processing.media_warnings_atoken.MediaWarning")
@pytest.mark.parametrize("suffix", sorted(VIDEO_SUFFIXES))
def test_video_suffixes_are_read(tmp_path, suffix):
    pytest.importorskip("av")
    muxer, encoder = WRITERS[suffix]
    path = tmp_path / f"a{suffix}"
    # DV knows sizes of television only.
    height, width = (576, 720) if encoder == "dvvideo" else (64, 64)
    try:
        # As root, SVT-AV1 makes the thread that opens it a real-time one for good: one that ends with it.
        with ThreadPoolExecutor(max_workers=1) as thread:
            thread.submit(write_half_white, path, muxer, encoder, height, width).result()
    except ValueError as error:
        pytest.skip(f"this build of FFmpeg does not write {suffix} ({muxer}, {encoder}): {error}")
    assert media_kind(path) == "video"
    frames, _ = read_video(path)
    # DV has pixels that are no squares.
    assert frames.shape[:2] == (5, height) and frames.shape[2] in (width, width * 16 // 15)
    assert (frames[:, :, width // 8] > 200).all() and (frames[:, :, -width // 8] < 60).all()
