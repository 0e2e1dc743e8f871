"""Bad input is refused with an error that names what is wrong, before anything is written."""

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from atoken.processing import AtokenImageProcessor, AtokenProcessor, AtokenVideoProcessor, canonicalize_text
from atoken.processing.media_reading_atoken import open_image, read_video, write_image, write_video
from atoken.processing.patching_atoken import pad_and_patchify, unpatchify
from atoken.processing.text_processing_atoken import tokenize_text

from .samples import clip, photo, smooth_clip, tiny_tokenizer

IMAGES = AtokenImageProcessor()
VIDEOS = AtokenVideoProcessor()
BOTH = AtokenProcessor()
WITH_TEXT = AtokenProcessor(tokenizer=tiny_tokenizer())
PHOTO, CLIP = photo(20, 30), clip(5, 20, 30)
RGB = Image.fromarray(PHOTO)


def with_value(value: float) -> np.ndarray:
    array = np.full((20, 30, 3), 0.5, np.float32)
    array[3, 4, 1] = value
    return array


def unpadded_tokenizer():
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = None
    return tokenizer


# What is called, and a pattern for the message: the culprit, and what is expected of it.
CALLS: dict[str, tuple[Callable[[], Any], str]] = {
    # Images: kind, rank, channels, type.
    "image none": (lambda: IMAGES(None), r"images must be .*got NoneType"),
    "image empty list": (lambda: IMAGES([]), r"images must .*got an empty list"),
    "image number": (lambda: IMAGES(3), r"images must be .*got int"),
    "image generator": (lambda: IMAGES(image for image in [RGB]), r"images must .*got generator"),
    "image dictionary": (lambda: IMAGES({"image": RGB}), r"images must .*got dict"),
    "image list with a number": (lambda: IMAGES([RGB, 3]), r"images\[1\] must .*got int"),
    "image list with none": (lambda: IMAGES([None, RGB]), r"images\[0\] must .*got NoneType"),
    "image nested list": (lambda: IMAGES([[RGB], [RGB]]), r"images\[0\] must .*flat.*got list"),
    "image list of numbers": (lambda: IMAGES([[0, 1], [2, 3]]), r"images\[0\] must .*got list"),
    "image rank 1": (lambda: IMAGES(np.zeros(9, np.uint8)), r"images must be \(H, W\).*got shape \(9,\)"),
    "image rank 5": (lambda: IMAGES(CLIP[None]), r"images must .*got shape \(1, 5, 20, 30, 3\).*videos="),
    "image rank 4 in a list": (lambda: IMAGES([CLIP]), r"images\[0\] must .*got shape \(5, 20, 30, 3\)"),
    "image two channels": (
        lambda: IMAGES(np.zeros((20, 30, 2), np.uint8)),
        r"images must .*1, 3 or 4 channels.*got shape",
    ),
    "image five channels": (lambda: IMAGES(torch.zeros(5, 20, 30)), r"images must .*channels.*got shape \(5, 20, 30\)"),
    "image ambiguous layout": (lambda: IMAGES(PHOTO[:3]), r"images must .*input_data_format.*got shape \(3, 30, 3\)"),
    "image wrong layout": (
        lambda: IMAGES(PHOTO, input_data_format="channels_first"),
        r"images must .*got shape \(20, 30, 3\) with input_data_format='channels_first'",
    ),
    "image unknown layout": (lambda: IMAGES(PHOTO, input_data_format="HWC"), r"input_data_format must .*got 'HWC'"),
    "image zero height": (lambda: IMAGES(PHOTO[:0]), r"images must .*got shape \(0, 30, 3\).*no pixels"),
    "image zero size in a list": (lambda: IMAGES([RGB, Image.new("RGB", (0, 5))]), r"images\[1\].*0x5 pixels"),
    "image dtype object": (lambda: IMAGES(PHOTO.astype(object)), r"images must be uint8.*got dtype object"),
    "image dtype string": (lambda: IMAGES(PHOTO.astype(str)), r"images must .*got dtype <U"),
    "image dtype complex": (lambda: IMAGES(PHOTO.astype(complex)), r"images must .*got dtype complex128"),
    "image dtype int64": (lambda: IMAGES(PHOTO.astype(np.int64)), r"images must .*got dtype int64.*astype"),
    "image dtype int8 tensor": (
        lambda: IMAGES(torch.zeros(3, 4, 5, dtype=torch.int8)),
        r"images must .*got dtype torch.int8",
    ),
    "image dtype complex tensor": (
        lambda: IMAGES(torch.zeros(3, 4, 5) * 1j),
        r"images must .*got dtype torch.complex64",
    ),
    "image sparse": (
        lambda: IMAGES(torch.zeros(3, 4, 5).to_sparse()),
        r"images must .*got a tensor with layout.*to_dense",
    ),
    # Images: values.
    "image nan": (lambda: IMAGES([PHOTO, with_value(np.nan)]), r"images\[1\] must .*got NaN"),
    "image infinite": (lambda: IMAGES(with_value(np.inf)), r"images must .*got NaN or infinite"),
    "image floats to 255": (
        lambda: IMAGES(PHOTO.astype(np.float32)),
        r"images must be in \[0, 1\], got .* to 255.*uint8",
    ),
    "image floats from -1": (lambda: IMAGES(with_value(-1)), r"images must .*got .* from -1 .*do_normalize=False"),
    "image half floats": (
        lambda: IMAGES(torch.full((3, 4, 5), 2.0).half()),
        r"images must .*got torch.float16 .* to 2",
    ),
    "image integers unscaled": (lambda: IMAGES(PHOTO, do_rescale=False), r"images must .*\[0, 1\].*do_rescale"),
    "image beyond signed range": (
        lambda: IMAGES(with_value(1.5), do_rescale=False, do_normalize=False),
        r"images must be in \[-1, 1\].*got .* to 1.5",
    ),
    "image signed with alpha": (
        lambda: IMAGES(np.zeros((8, 9, 4)), do_rescale=False, do_normalize=False),
        r"images must .*got four channels.*alpha",
    ),
    "image mode I": (lambda: IMAGES(Image.new("I", (4, 5))), r"images must .*mode I, 32-bit integers.*uint16"),
    "image mode LAB": (lambda: IMAGES(Image.new("LAB", (4, 5))), r"images must .*mode LAB"),
    "image mode F out of range": (lambda: IMAGES(Image.new("F", (4, 5), 7.0)), r"images must be in \[0, 1\].*got .* 7"),
    # Options.
    "unknown option": (lambda: IMAGES(PHOTO, do_resise=True), r"options must be known, got 'do_resise'. There are"),
    "unknown video option": (lambda: VIDEOS(CLIP, num_frame=3), r"options must be known, got 'num_frame'"),
    "unknown processor option": (lambda: BOTH(images=PHOTO, resize=3), r"options must be known, got 'resize'"),
    "unknown nested option": (lambda: BOTH(images=PHOTO, images_kwargs={"resize": 3}), r"resize"),
    "option given twice": (
        lambda: BOTH(images=PHOTO, max_pixels=999, images_kwargs={"max_pixels": 888}),
        r"max_pixels was passed two times",
    ),
    "nested options no dictionary": (lambda: BOTH(images=PHOTO, images_kwargs=[1]), r"images_kwargs must .*got list"),
    "option of wrong type": (lambda: IMAGES(PHOTO, do_rescale="yes"), r"do_rescale.*expected bool"),
    "processor option of wrong type": (lambda: BOTH(images=PHOTO, max_pixels="many"), r"max_pixels.*int"),
    "tensorflow": (lambda: IMAGES(PHOTO, return_tensors="tf"), r"return_tensors must be \"pt\".*got 'tf'"),
    "jax videos": (lambda: VIDEOS(CLIP, return_tensors="jax"), r"return_tensors must .*got 'jax'"),
    "jax processor": (lambda: BOTH(images=PHOTO, return_tensors="jax"), r"return_tensors must .*got 'jax'"),
    "crop": (lambda: IMAGES(PHOTO, do_center_crop=True, crop_size=8), r"do_center_crop must .*cropped"),
    "no padding": (lambda: IMAGES(PHOTO, do_pad=False), r"do_pad must .*got False"),
    "no rgb": (lambda: IMAGES(PHOTO, do_convert_rgb=False), r"do_convert_rgb must .*got False"),
    "data format": (lambda: IMAGES(PHOTO, data_format="channels_last"), r"data_format must .*got 'channels_last'"),
    "mean of two": (lambda: IMAGES(PHOTO, image_mean=[0.5, 0.5]), r"image_mean must .*got \(0.5, 0.5\)"),
    "std of zero": (lambda: IMAGES(PHOTO, image_std=0.0), r"image_std must be one positive.*got 0.0"),
    "patch size": (lambda: IMAGES(PHOTO, patch_size=[16, 16]), r"patch_size must be three.*got \[16, 16\]"),
    "size of max_height": (
        lambda: IMAGES(PHOTO, size={"max_height": 9, "max_width": 9}),
        r"size must .*got .*max_height",
    ),
    "size zero": (
        lambda: IMAGES(PHOTO, size={"height": 0, "width": 9}),
        r"size\['height'\] must be a positive.*got 0",
    ),
    "size incomplete": (lambda: IMAGES(PHOTO, size={"height": 9}), r"size must have"),
    "size unknown key": (lambda: IMAGES(PHOTO, size={"depth": 9}), r"size must have.*depth"),
    "size and pixels": (
        lambda: IMAGES(PHOTO, size={"shortest_edge": 9}, max_pixels=999),
        r"size must .*max_pixels=999",
    ),
    "max_pixels tiny": (lambda: IMAGES(PHOTO, max_pixels=100), r"max_pixels must be at least 256.*got 100"),
    "max_pixels negative": (lambda: IMAGES(PHOTO, max_pixels=-1), r"max_pixels must .*got -1"),
    "pixel bounds crossed": (lambda: IMAGES(PHOTO, min_pixels=999, max_pixels=888), r"min_pixels must .*888.*got 999"),
    "pixel bounds too close": (
        lambda: IMAGES(PHOTO, min_pixels=700, max_pixels=701),
        r"min_pixels must .*got 700.*apart",
    ),
    "resize without size": (lambda: IMAGES(PHOTO, do_resize=True), r"do_resize must .*got True without a target"),
    # Videos.
    "video none": (lambda: VIDEOS(None), r"videos must .*got NoneType"),
    "video empty list": (lambda: VIDEOS([]), r"videos must .*got an empty list"),
    "video empty inner list": (lambda: VIDEOS([[RGB], []]), r"videos\[1\] must .*got an empty list"),
    "video one picture": (lambda: VIDEOS(RGB), r"videos must .*got one PIL image.*images="),
    "video rank 3": (lambda: VIDEOS(PHOTO), r"videos must be \(T, H, W, C\).*got shape \(20, 30, 3\)"),
    "video rank 6": (lambda: VIDEOS(CLIP[None, None]), r"videos must .*got shape"),
    "video no frames": (lambda: VIDEOS(CLIP[:0]), r"videos must .*got shape \(0, 20, 30, 3\).*no pixels"),
    "video two channels": (lambda: VIDEOS(CLIP[..., :2]), r"videos must .*channels.*got shape"),
    "video ambiguous layout": (lambda: VIDEOS(CLIP[:, :3]), r"videos must .*input_data_format"),
    "video frames of two sizes": (
        lambda: VIDEOS([RGB, RGB, RGB.resize((9, 9))]),
        r"videos\[2\] must .*got a frame of 9x9 pixels, but frame 0 has 20x30",
    ),
    "video arrays of two types": (lambda: VIDEOS([PHOTO, PHOTO / 255]), r"videos\[1\] must .*float64.*uint8"),
    "video frames of two kinds": (lambda: VIDEOS([[RGB, PHOTO]]), r"videos\[0\]\[1\] must .*got an array"),
    "video frames and videos": (lambda: VIDEOS([RGB, CLIP]), r"videos\[1\] must .*got an array of several frames"),
    "video with a number": (lambda: VIDEOS([CLIP, 5]), r"videos\[1\] must .*got int"),
    "video int64": (lambda: VIDEOS(CLIP.astype(np.int64)), r"videos must .*got dtype int64"),
    "video nan": (lambda: VIDEOS([CLIP, CLIP * np.nan]), r"videos\[1\] must .*got NaN"),
    "video floats to 255": (lambda: VIDEOS(CLIP.astype(np.float32)), r"videos must .*\[0, 1\]"),
    "video too many frames": (lambda: VIDEOS(CLIP, num_frames=6), r"num_frames must .*got 6 for a video of 5"),
    "video zero frames": (lambda: VIDEOS(CLIP, num_frames=0), r"num_frames must be a positive.*got 0"),
    "video two samplings": (lambda: VIDEOS(CLIP, num_frames=2, fps=2), r"num_frames must .*got 2 together with fps=2"),
    "video unknown rate": (lambda: VIDEOS(CLIP, fps=2), r"fps must .*got 2 .*video_metadata"),
    "video faster than it is": (
        lambda: VIDEOS(CLIP, fps=20, video_metadata={"total_num_frames": 5, "fps": 10}),
        r"fps must .*got 20 for a video of 10 frames per second",
    ),
    "video sampling without target": (lambda: VIDEOS(CLIP, do_sample_frames=True), r"do_sample_frames must .*got True"),
    "metadata of other length": (
        lambda: VIDEOS([CLIP, CLIP], video_metadata=[{"total_num_frames": 5}]),
        r"video_metadata must .*got 1 entries for 2 videos",
    ),
    "metadata empty": (lambda: VIDEOS(CLIP, video_metadata=[]), r"video_metadata must .*got an empty list"),
    "metadata contradicts": (
        lambda: VIDEOS(CLIP, video_metadata={"total_num_frames": 9}),
        r"video_metadata must have total_num_frames=5 for videos, got total_num_frames=9",
    ),
    "metadata unknown key": (lambda: VIDEOS(CLIP, video_metadata={"rate": 9}), r"video_metadata.*rate"),
    # Text and the processor.
    "nothing": (lambda: BOTH(), r"must be given, got none of the four"),
    "text without tokenizer": (lambda: BOTH(images=PHOTO, text="a"), r"text must go .*no tokenizer.*tokenizer="),
    "text number": (lambda: WITH_TEXT(text=3), r"text must be a string.*got int"),
    "text list with none": (lambda: WITH_TEXT(text=["a", None]), r"text\[1\] must .*got NoneType"),
    "text empty list": (lambda: WITH_TEXT(text=[]), r"text must .*got an empty list"),
    "text canonical bytes": (lambda: canonicalize_text(b"a"), r"text must .*got bytes"),
    "text length zero": (lambda: WITH_TEXT(text="a", max_length=0), r"max_length must .*got 0"),
    "text padding": (lambda: WITH_TEXT(text="a", padding="most"), r"padding must .*got 'most'"),
    "text padding side": (lambda: WITH_TEXT(text="a", padding_side="top"), r"padding_side must .*got 'top'"),
    "text unknown option": (lambda: WITH_TEXT(text="a", text_kwargs={"lower": 1}), r"text_kwargs must .*'lower'"),
    "tokenizer without padding": (lambda: tokenize_text(unpadded_tokenizer(), "a"), r"tokenizer: .*padding token"),
    # Patches.
    "patchify integers": (
        lambda: pad_and_patchify(torch.zeros(1, 3, 4, 4, dtype=torch.uint8)),
        r"media must .*got torch.uint8",
    ),
    "patchify rank": (lambda: pad_and_patchify(torch.zeros(3, 4, 4)), r"media must .*\(T, C, H, W\).*got"),
    "patchify empty": (lambda: pad_and_patchify(torch.zeros(1, 3, 0, 4)), r"media must .*got shape .*no pixels"),
    "patchify patch size": (
        lambda: pad_and_patchify(torch.zeros(1, 3, 4, 4), (4, 0, 16)),
        r"patch_size must .*got \(4, 0, 16\)",
    ),
}


@pytest.mark.parametrize("case", CALLS)
def test_bad_call(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call, pattern = CALLS[case]
    with pytest.raises(ValueError) as raised:
        call()
    message = str(raised.value)
    assert re.search(pattern, message, re.DOTALL), message
    assert not list(tmp_path.iterdir())


# Tokens that do not belong together.


def tokens(**changes: Any) -> dict[str, Any]:
    batch = dict(IMAGES(PHOTO))
    return {**batch, **{name: change(batch[name]) for name, change in changes.items()}}


BATCHES: dict[str, tuple[dict[str, Any], str]] = {
    "token missing": (
        {"pixel_values": lambda v: v[1:], "coords": lambda v: v[1:], "cu_seqlens": lambda v: v - torch.tensor([0, 1])},
        r"coords: 1 of 4 tokens are missing",
    ),
    "token duplicated": ({"coords": lambda v: v[[0, 0, 2, 3]]}, r"coords: token \[0, 0, 0, 0\] is duplicated"),
    "token outside": (
        {"coords": lambda v: v + torch.tensor([0, 1, 0, 0])},
        r"coords: token \[0, 2, 0, 0\] lies outside",
    ),
    "token negative": ({"coords": lambda v: v - 1}, r"coords: token .* lies outside"),
    "token in depth": ({"coords": lambda v: v + torch.tensor([0, 0, 0, 1])}, r"coords: token \[0, 0, 0, 1\]"),
    "other media size": ({"media_sizes": lambda v: v + 16}, r"media_sizes"),
    "zero media size": ({"media_sizes": lambda v: v * torch.tensor([1, 0, 1])}, r"media_size.*positive"),
    "media sizes of another batch": (
        {"media_sizes": lambda v: v.repeat(2, 1)},
        r"media_sizes must .*got shape \(2, 3\)",
    ),
    "coords of two columns": ({"coords": lambda v: v[:, :2]}, r"coords must be .*got .*\(4, 2\)"),
    "coords too short": ({"coords": lambda v: v[:2]}, r"coords must be 4.*got 2 rows"),
    "coords floats": ({"coords": lambda v: v.float()}, r"coords must be integers.*got torch.float32"),
    "bounds too short": ({"cu_seqlens": lambda v: v[:1]}, r"cu_seqlens must .*got \[0\]"),
    "bounds beyond": ({"cu_seqlens": lambda v: v + 1}, r"cu_seqlens must .*from 0 to 4.*got \[1, 5\]"),
    "values of another width": ({"pixel_values": lambda v: v[:, :100]}, r"pixel_values must .*got shape \(4, 100\)"),
    "values integers": ({"pixel_values": lambda v: v.long()}, r"pixel_values must .*got torch.int64"),
    "values list": ({"pixel_values": lambda v: v.tolist()}, r"pixel_values must .*got list"),
    "values nan": ({"pixel_values": lambda v: v * torch.nan}, r"pixel_values must .*got NaN"),
}


@pytest.mark.parametrize("case", BATCHES)
@pytest.mark.parametrize("processor", [IMAGES, VIDEOS, BOTH], ids=["image", "video", "both"])
def test_bad_tokens(case, processor):
    changes, pattern = BATCHES[case]
    with pytest.raises(ValueError, match=pattern):
        processor.post_process(**tokens(**changes))


def test_bad_output_type_and_video_as_image():
    for processor in (IMAGES, VIDEOS, BOTH):
        with pytest.raises(ValueError, match="output_type must be .*got 'tf'"):
            processor.post_process(**tokens(), output_type="tf")
    with pytest.raises(ValueError, match="media_sizes must have 1 frame .*got 5 frames for sample 0"):
        IMAGES.post_process(**VIDEOS(CLIP))
    with pytest.raises(ValueError, match="coords must .*got 1 rows for 2 rows of pixel_values"):
        unpatchify(torch.zeros(2, 3072), torch.zeros(1, 4, dtype=torch.int64), (1, 16, 16))


# Files.


def make_files(folder: Path) -> None:
    RGB.save(folder / "good.png")
    (folder / "empty.png").write_bytes(b"")
    (folder / "folder").mkdir()
    for name in ("text.png", "text.mp4", "text.txt"):
        (folder / name).write_text("This is no picture.\n" * 50)
    for name in ("cut.png", "cut.jpg", "cut.webp", "cut.tif"):
        whole = folder / f"whole_{name}"
        RGB.save(whole)
        (folder / name).write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    frames = [Image.fromarray(frame) for frame in CLIP]
    for name in ("moving.gif", "moving.webp", "moving.png"):
        frames[0].save(folder / name, save_all=True, append_images=frames[1:], duration=40)
        (folder / f"cut_{name}").write_bytes((folder / name).read_bytes()[: (folder / name).stat().st_size // 2])
    write_video(folder / "good.mp4", smooth_clip(20), fps=10)
    write_video(folder / "good.mkv", smooth_clip(20), fps=10)
    for name in ("good.mp4", "good.mkv"):
        data = (folder / name).read_bytes()
        (folder / f"cut_{name}").write_bytes(data[: len(data) * 4 // 5])
    write_streamable(folder / "streamable.mp4")
    data = (folder / "streamable.mp4").read_bytes()
    (folder / "cut_streamable.mp4").write_bytes(data[: len(data) * 4 // 5])
    write_sound(folder / "sound.mp4")


def write_streamable(path: Path) -> None:
    """An MP4 with its index in front, which still opens when its end is missing."""
    import av

    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        for frame in smooth_clip(30):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def write_sound(path: Path) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("files")
    make_files(path)
    return path


@pytest.mark.parametrize(
    ("name", "error", "pattern"),
    [
        ("absent.png", FileNotFoundError, "there is no file"),
        ("folder", ValueError, "is a directory"),
        ("empty.png", ValueError, "is an empty file"),
        ("text.png", ValueError, "is not an image"),
        ("cut.png", ValueError, "truncated"),
        ("cut.jpg", ValueError, "truncated"),
        ("cut.webp", ValueError, "image"),
        ("cut.tif", ValueError, "truncated|cannot"),
        ("moving.gif", ValueError, "must be a still image, got a GIF with 5 frames. Pass its path as videos="),
        ("moving.webp", ValueError, "WEBP with 5 frames"),
        ("moving.png", ValueError, "PNG with 5 frames"),
        ("good.mp4", ValueError, "is not an image.*pass it as videos="),
        ("cut_moving.png", ValueError, "5 frames|truncated"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_bad_image_file(folder, name, error, pattern):
    before = sorted(folder.iterdir())
    for read in (IMAGES, lambda path: IMAGES([folder / "good.png", path]), open_image, lambda path: BOTH(images=path)):
        with pytest.raises(error, match=pattern) as raised:
            read(folder / name)
        assert str(folder / name) in str(raised.value)
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    ("name", "error", "pattern"),
    [
        ("absent.mp4", FileNotFoundError, "there is no file"),
        ("folder", ValueError, "is a directory"),
        ("empty.png", ValueError, "is an empty file"),
        ("text.mp4", ValueError, "not a video"),
        ("text.txt", ValueError, "text file|not a video"),
        ("sound.mp4", ValueError, "no video stream"),
        ("whole_cut.jpg", ValueError, "still image.*images="),
        ("good.png", ValueError, "still image.*images="),
        ("cut_good.mp4", ValueError, "truncated"),
        ("cut_good.mkv", ValueError, "truncated: its header announces"),
        ("cut_streamable.mp4", ValueError, "truncated"),
        ("cut_moving.gif", ValueError, "truncated"),
        ("cut_moving.webp", ValueError, "truncated"),
        ("cut_moving.png", ValueError, "truncated"),
    ],
)
def test_bad_video_file(folder, name, error, pattern):
    before = sorted(folder.iterdir())
    for read in (VIDEOS, lambda path: VIDEOS([folder / "good.mp4", path]), read_video, lambda path: BOTH(videos=path)):
        with pytest.raises(error, match=pattern) as raised:
            read(folder / name)
        assert str(folder / name) in str(raised.value)
    with pytest.raises(error, match=pattern):
        VIDEOS(folder / name, num_frames=2)
    assert sorted(folder.iterdir()) == before


# What files of other kinds begin with, and what is said of them as images= and as videos=. No two send each other away.
STRANGERS: dict[str, tuple[bytes, str, str]] = {
    "a.jxl": (b"\xff\x0a", "JPEG XL.*pillow-jxl-plugin", "expected a video"),
    "a.exr": (b"\x76\x2f\x31\x01", "OpenEXR.*float array", "video"),
    "a.hdr": (b"#?RADIANCE\n", "Radiance HDR.*float array", "video"),
    "a.cr2": (b"II*\0\x10\0\0\0CR\2\0", "raw file of a camera.*rawpy", "expected a video"),
    "a.cr3": (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "raw file of a camera.*rawpy", "raw file of a camera"),
    "a.raf": (b"FUJIFILMCCD-RAW 0201", "raw file of a camera.*rawpy", "not a video"),
    "a.psd": (b"8BPS\0\1" + bytes(6) + b"\0\3\0\0\0\x40\0\0\0\x40\0\x10\0\3", "Photoshop.*PNG", "expected a video"),
    "a.pdf": (b"%PDF-1.7\n", "drawing.*PNG", "expected a video"),
    "a.svg": (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "drawing.*PNG", "video"),
    "a.bin": (b"nothing known", "not an image.*Convert it", "not a video"),
}


@pytest.mark.parametrize("name", STRANGERS)
def test_files_of_other_kinds_are_called_what_they_are(tmp_path, name):
    head, as_image, as_video = STRANGERS[name]
    path = tmp_path / name
    path.write_bytes(head + bytes(300))
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))}.*{as_image}") as raised:
        open_image(path)
    assert "videos=" not in str(raised.value)
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))}.*{as_video}"):
        read_video(path)


def test_pages_and_icons_are_no_videos(tmp_path):
    frames = [Image.fromarray(frame) for frame in CLIP]
    for name in ("a.tif", "a.dcx", "a.ico"):
        if name == "a.dcx":
            write_dcx(tmp_path / name, frames)
        else:
            frames[0].save(
                tmp_path / name, **({"save_all": True, "append_images": frames[1:]} if "tif" in name else {})
            )
        if name != "a.ico":
            with pytest.raises(ValueError, match=r"copy\(\)") as raised:
                open_image(tmp_path / name)
            assert "videos=" not in str(raised.value)
        with pytest.raises(ValueError, match="video"):
            read_video(tmp_path / name)


def write_dcx(path: Path, frames: list[Image.Image]) -> None:
    """Pages of PCX one after another, behind a table of where they begin."""
    pages = []
    for frame in frames:
        file = io.BytesIO()
        frame.save(file, "PCX")
        pages.append(file.getvalue())
    starts = np.cumsum([4 * 1025, *map(len, pages[:-1])])
    table = np.zeros(1024, "<u4")
    table[: len(starts)] = starts
    path.write_bytes(b"\xb1\x68\xde\x3a" + table.tobytes() + b"".join(pages))


def test_heic_is_no_video(tmp_path):
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200))
    with pytest.raises(ValueError, match=r"a\.heic.*HEIC.*images=.*pip install \"atoken\[heif\]\""):
        read_video(tmp_path / "a.heic")


def test_file_states_its_own_metadata_and_addresses_are_not_fetched(folder):
    with pytest.raises(ValueError, match="video_metadata must .*got an entry for videos, a file"):
        VIDEOS(folder / "good.mp4", video_metadata={"total_num_frames": 20})
    with pytest.raises(ValueError, match="videos must be a local path.*got the address 'https://example.org/a.mp4'"):
        VIDEOS("https://example.org/a.mp4")


def test_moving_picture_object_is_refused(folder):
    with Image.open(folder / "moving.gif") as moving:
        with pytest.raises(ValueError, match=r"images\[0\] must .*got a GIF with 5 frames"):
            IMAGES([moving])
        with pytest.raises(ValueError, match=r"videos\[1\] must .*got a GIF with 5 frames"):
            VIDEOS([RGB, moving])


@pytest.mark.parametrize(
    ("call", "error", "pattern"),
    [
        (lambda path: write_image(path / "a.gif", PHOTO), ValueError, "path must be one of.*got suffix '.gif'"),
        (lambda path: write_image(path / "a", PHOTO), ValueError, "path must .*got suffix ''"),
        (lambda path: write_image(path, PHOTO), ValueError, "is a directory"),
        (lambda path: write_image(path / "no" / "a.png", PHOTO), FileNotFoundError, "there is no directory"),
        (lambda path: write_image(3, PHOTO), ValueError, "path must .*got int"),
        (lambda path: write_image(path / "a.png", PHOTO / 255), ValueError, "array must .*got float64"),
        (lambda path: write_image(path / "a.png", CLIP), ValueError, r"array must .*got uint8 \(5, 20, 30, 3\)"),
        (lambda path: write_image(path / "a.png", RGB), ValueError, "array must .*got Image"),
        (lambda path: write_video(path / "a.mp4", CLIP[:0], 10), ValueError, "frames must .*no empty side.*got"),
        (lambda path: write_video(path / "a.mp4", CLIP[..., :1], 10), ValueError, "frames must .*got uint8"),
        (lambda path: write_video(path / "a.mp4", CLIP, 0), ValueError, "fps must be a positive.*got 0"),
        (lambda path: write_video(path / "a.mp4", CLIP, float("nan")), ValueError, "fps must .*got nan"),
        (lambda path: write_video(path / "a.mp4", CLIP, "10"), ValueError, "fps must .*got '10'"),
        (lambda path: write_video(path / "a.mp4", CLIP, 10, codec="nope"), ValueError, "codec must .*got 'nope'"),
        (lambda path: write_video(path / "a.mp4", CLIP, 10, codec="aac"), ValueError, "codec: .*aac"),
        (lambda path: write_video(path / "a.xyz", CLIP, 10), ValueError, "path: cannot write"),
        (lambda path: write_video(path / "a.webm", CLIP, 10), ValueError, "path: cannot write .*libx264"),
        (
            lambda path: write_video(path / "a.webm", CLIP[:, :19], 10, codec="libvpx"),
            ValueError,
            "codec: 'libvpx' cannot encode frames of 19x30 without losing pixels",
        ),
        (lambda path: write_video(path / "no" / "a.mp4", CLIP, 10), FileNotFoundError, "there is no directory"),
    ],
)
def test_bad_writing(tmp_path, call, error, pattern):
    with pytest.raises(error, match=pattern):
        call(tmp_path)
    assert not list(tmp_path.iterdir())
