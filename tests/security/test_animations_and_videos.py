"""Animations that grow when they are shown, and videos that are lists of other files."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from atoken.processing.apng_atoken import composed_png
from atoken.processing.media_reading_atoken import iter_video, read_video
from atoken.processing.media_writing_atoken import write_video
from atoken.tokenizing.clips import read_frames

from .memory import memory_below


def animation(form: str, frames: int = 12, side: int = 16, **options: object) -> bytes:
    pictures = [Image.fromarray(np.full((side, side, 3), 20 * index, np.uint8)) for index in range(frames)]
    file = io.BytesIO()
    pictures[0].save(file, form, save_all=True, append_images=pictures[1:], duration=40, **options)
    return file.getvalue()


@pytest.mark.parametrize("form", ["gif", "png"])
def test_a_huge_canvas_with_small_frames(form, tmp_path):
    data = bytearray(animation(form))
    if form == "gif":
        data[6:10] = struct.pack("<HH", 65_535, 65_535)
    else:
        data[16:24] = struct.pack(">II", 60_000, 60_000)
        data[29:33] = struct.pack(">I", __import__("zlib").crc32(bytes(data[12:29])))
    (tmp_path / f"a.{form}").write_bytes(data)
    with memory_below(200), pytest.raises(ValueError, match=rf"a\.{form}.*pixels.*MAX_IMAGE_PIXELS"):
        read_video(tmp_path / f"a.{form}")


# A variable, its value, and what is read.
LIMITS = {
    "frames": ("ATOKEN_MAX_ANIMATION_FRAMES", 11, "frames"),
    "all pixels": ("ATOKEN_MAX_ANIMATION_PIXELS", 12 * 256 - 1, "pixels in all of its frames"),
    "kept pixels": ("ATOKEN_MAX_KEPT_PIXELS", 12 * 256 - 1, "pixels in all frames that are kept"),
}


@pytest.mark.parametrize("form", ["gif", "png", "webp"])
@pytest.mark.parametrize("limit", LIMITS)
def test_animations_are_limited(form, limit, tmp_path, monkeypatch):
    variable, value, what = LIMITS[limit]
    path = tmp_path / f"a.{form}"
    path.write_bytes(animation(form))
    monkeypatch.setenv(variable, str(value))
    with pytest.raises(ValueError, match=rf"must have at most {value:,} {what}.*{variable}"):
        read_video(path)
    monkeypatch.setenv(variable, str(value + 1))
    assert read_video(path)[0].shape == (12, 16, 16, 3)


def test_the_texts_of_an_animation_are_not_unpacked_for_every_frame():
    from PIL.PngImagePlugin import PngInfo

    texts = PngInfo()
    texts.add_text("Comment", "x" * 10_000, zip=True)
    for picture, _ in composed_png(animation("png", pnginfo=texts)):
        assert "Comment" not in picture.info


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    write_video(folder / "private.mp4", np.zeros((4, 32, 32, 3), np.uint8), fps=10)
    return folder / "private.mp4"


def test_kept_frames_of_videos_are_limited(clip, monkeypatch):
    monkeypatch.setenv("ATOKEN_MAX_KEPT_PIXELS", "3000")
    with pytest.raises(ValueError, match="pixels in all frames that are kept.*ATOKEN_MAX_KEPT_PIXELS"):
        read_video(clip)
    assert sum(1 for _ in iter_video(clip)[1]) == 4  # one after another, nothing is kept


def test_frames_have_no_more_pixels_than_pictures(clip, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    with pytest.raises(ValueError, match=r"32x32 pixels, and pictures may have 1,000\..*MAX_IMAGE_PIXELS"):
        read_video(clip)


DASH = """<?xml version="1.0"?>{more}
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011" type="static"
 mediaPresentationDuration="PT1S"><Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1">
<BaseURL>private.mp4</BaseURL></Representation></AdaptationSet></Period></MPD>"""
PLAYLISTS = {
    "HLS": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nprivate.mp4\n#EXT-X-ENDLIST\n",
    "HLS of an address": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile private.mp4\n",
    "DASH": DASH.format(more=""),
    "DASH behind a comment": DASH.format(more=f"<!--{' ' * 5000}-->"),
    "SDP": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=a\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 26\n",
}


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("reader", ["file", "bytes"])
def test_playlists_are_refused(kind, reader, clip):
    path = clip.parent / "a.mp4"
    path.write_text(PLAYLISTS[kind])
    message = r"a playlist, which names other files|not a video|a video that can be decoded"
    with pytest.raises(ValueError, match=message):
        if reader == "file":
            read_video(path)
        else:
            read_frames(path.read_bytes(), lambda total, _: range(total))


def test_names_are_no_protocols(clip, monkeypatch):
    """FFmpeg would open the file behind `concat:` or `subfile:`, or ask the network."""
    monkeypatch.chdir(clip.parent)
    for name in ("concat:private.mp4", "subfile,,start,0,end,99,,:private.mp4", "http:a.mp4"):
        Path(name).write_bytes(b"no video at all, whatever its name says" * 9)
        with pytest.raises(ValueError, match="not a video"):
            read_video(name)
        Path(name).write_bytes(clip.read_bytes())
        assert len(read_video(name)[0]) == 4


@pytest.mark.parametrize("kind", PLAYLISTS)
def test_playlists_in_conversations(kind, clip):
    from atoken.mllm import AtokenLlavaVideoProcessor

    path = clip.parent / "b.mp4"
    path.write_text(PLAYLISTS[kind])
    with pytest.raises(ValueError, match="videos must be video files, got .*b.mp4'?, a playlist"):
        AtokenLlavaVideoProcessor().fetch_videos(str(path))
