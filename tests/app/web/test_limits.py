"""What a server takes, and how it says no."""

import numpy as np
import pytest
from PIL import Image

from atoken.processing.media_writing_atoken import write_video
from atoken_app.web.limits import Limits, TooLong
from atoken_app.web.places import KEPT_SECONDS, Places
from atoken_app.web.shelf import Shelf

SMALL = Limits(megabytes=1, image_pixels=64 * 64, frame_pixels=32 * 32, frames=5, triangles=1, letters=10)


def picture(path, width, height):
    Image.new("RGB", (width, height), "red").save(path)
    return str(path)


def clip(path, frames, side):
    write_video(path, np.zeros((frames, side, side, 3), np.uint8), 8.0)
    return str(path)


def test_files_within_the_limits_are_taken(tmp_path):
    path, kind = SMALL.check_file(picture(tmp_path / "a.png", 64, 64))
    assert (path.name, kind) == ("a.png", "image")
    assert SMALL.check_file(clip(tmp_path / "a.mp4", 5, 32))[1] == "video"


def test_what_is_too_large_is_named_with_the_limit(tmp_path):
    with pytest.raises(ValueError, match=r"at most 4,096 pixels here, got 65 x 64; make it smaller"):
        SMALL.check_file(picture(tmp_path / "a.png", 65, 64))
    with pytest.raises(ValueError, match=r"at most 5 frames here, got more; cut it"):
        SMALL.check_file(clip(tmp_path / "a.mp4", 6, 32))
    with pytest.raises(ValueError, match=r"at most 1,024 pixels a frame here, got 48 x 48"):
        SMALL.check_file(clip(tmp_path / "b.mp4", 2, 48))
    square = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nf 1 2 3\nf 1 3 4\n"
    (tmp_path / "a.obj").write_text(square)
    with pytest.raises(ValueError, match=r"at most 1 triangles here, got 2; simplify it"):
        SMALL.check_file(str(tmp_path / "a.obj"))
    noise = np.random.default_rng(0).integers(0, 256, (800, 800, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    with pytest.raises(ValueError, match="at most 1 MB here, got 2 MB"):
        SMALL.check_file(str(tmp_path / "noise.png"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (None, None, "drop one first"),
        ("a.exe", b"MZ", "must have one of the suffixes"),
        ("a.png", b"", "empty file"),
        ("a.png", b"no picture", "a.png"),
        ("a.mp4", b"no video" * 100, "a.mp4"),
        ("a.glb", b"glTF" + bytes(20), "a.glb"),
    ],
)
def test_files_that_cannot_be_used_are_refused(tmp_path, name, content, message):
    file = None
    if name is not None:
        (tmp_path / name).write_bytes(content)
        file = str(tmp_path / name)
    with pytest.raises((ValueError, OSError), match=message):
        SMALL.check_file(file)


def test_texts():
    assert SMALL.check_text("  red star ") == "red star"
    for text in (None, "", "  "):
        with pytest.raises(ValueError, match="must not be empty"):
            SMALL.check_text(text)
    with pytest.raises(ValueError, match="at most 10 letters here, got 11"):
        SMALL.check_text("a" * 11)


def test_work_ends_when_its_time_is_over(monkeypatch):
    now = 100.0
    monkeypatch.setattr("atoken_app.web.limits.time.monotonic", lambda: now)
    deadline, seen = Limits(seconds=10).deadline(), []
    with pytest.raises(TooLong, match="at most 10 seconds"):
        for item in deadline.watch(range(5)):
            seen.append(item)
            now += 4.0
    assert seen == [0, 1, 2]


def test_old_folders_are_removed(tmp_path, monkeypatch):
    places = Places(tmp_path)
    first = places.new()
    assert first.is_dir() and first.parent == tmp_path
    monkeypatch.setattr("atoken_app.web.places.time.time", lambda: first.stat().st_mtime + KEPT_SECONDS + 1)
    second = places.new()
    assert not first.exists() and second.is_dir()


def test_models_are_sorted_by_their_kind(tmp_path):
    shelf = Shelf.of(["atoken-tiny", "lightning-dit-tiny"], "cpu")
    assert shelf.names["tokenizer"] == ["atoken-tiny"] and shelf.names["generator"] == ["lightning-dit-tiny"]
    with pytest.raises(FileNotFoundError, match="multimodal language model, got 'atoken-none'"):
        Shelf.of(["atoken-none"], "cpu")
    with (
        pytest.raises(ValueError, match="model must be one of atoken-tiny, got 'other'"),
        shelf.using("tokenizer", "other"),
    ):
        pass
