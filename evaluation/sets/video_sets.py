"""Sets of videos by the protocols of Tables 6 and 7: whole videos for reconstruction, few frames for retrieval."""

import csv
import itertools
import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchvision.transforms.v2 import functional as tvF

from atoken.processing.media_reading_atoken import iter_video
from atoken.processing.media_suffixes_atoken import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from atoken.tokenizing.images import read_image

from ..interface import EvaluationSet, Sample
from .file_lists import checksum, existing, find_files, find_media, take

DAVIS = "DAVIS is at https://davischallenge.org/davis2017/code.html: JPEGImages/<resolution>/<video>/*.jpg"
TOKENBENCH = "TokenBench is described at https://github.com/NVlabs/TokenBench: 720p MP4 files made by its script"
MSRVTT = "MSR-VTT's 1K-A split is MSRVTT_JSFUSION_test.csv (video_id, sentence), with MP4 files named by video_id"
MSVD = "MSVD is at https://www.cs.utexas.edu/~ml/clamp/videoDescription/: 670 test videos"
MOST_FRAMES = 12


def _frames(path: Path, count: int | None) -> torch.Tensor:
    """Reads (T, 3, H, W) uint8: the first `count` frames, or all."""
    _, frames = iter_video(path, "video")
    return torch.from_numpy(np.stack(list(itertools.islice(frames, count)))).permute(0, 3, 1, 2).contiguous()


def load_video(path: Path, max_frames: int | None, size: int | None, multiple: int) -> torch.Tensor:
    """Reads (T, 3, H, W) uint8: the first frames, short side resized to `size`, center crop to multiples."""
    return _fit(_frames(path, max_frames), size, multiple)


def load_piece(path: Path, start: int, frames: int, size: int | None, multiple: int) -> torch.Tensor:
    """Reads (frames, 3, H, W) uint8 from frame `start` on; otherwise as `load_video`."""
    _, stream = iter_video(path, "video")
    piece = np.stack(list(itertools.islice(stream, start, start + frames)))
    return _fit(torch.from_numpy(piece).permute(0, 3, 1, 2), size, multiple)


def _fit(video: torch.Tensor, size: int | None, multiple: int) -> torch.Tensor:
    if size is not None:
        video = tvF.resize(video, [size], antialias=True)
    height, width = (side // multiple * multiple for side in video.shape[-2:])
    return tvF.center_crop(video, [height, width]).contiguous()


def load_pictures(paths: list[Path]) -> torch.Tensor:
    """Reads (T, 3, H, W) uint8 of a video that is stored as one picture for each frame."""
    return torch.stack([read_image(path) for path in paths])


def load_sparsely(path: Path, most: int = MOST_FRAMES) -> torch.Tensor:
    """
    Reads (T, 3, H, W) uint8: one frame a second, of which at most `most` evenly from the first to the last (linspace).

    Raises:
        ValueError: the file states no frame rate.
    """
    metadata, frames = iter_video(path, "video")
    if metadata.fps is None:
        raise ValueError(f"{path} states no frame rate, so the frames of every second cannot be found")
    kept = list(_one_a_second(frames, metadata.fps, metadata.frame_times))
    chosen = np.linspace(0, len(kept) - 1, min(most, len(kept))).round().astype(int)
    return torch.from_numpy(np.stack([kept[index] for index in chosen])).permute(0, 3, 1, 2).contiguous()


def _one_a_second(frames: Iterator[np.ndarray], fps: float, times: list[float] | None) -> Iterator[np.ndarray]:
    """Yields the first frame at or after every whole second; `times` are those of frames that are not even."""
    second = 0
    for index, frame in enumerate(frames):
        if times is None and index >= second * fps:
            yield frame
            second += 1
        elif times is not None and times[index] >= second:
            yield frame
            second = int(times[index]) + 1


def _check_positive(what: str, **values: int | None) -> None:
    for name, value in values.items():
        if value is not None and value < 1:
            raise ValueError(f"{what}: {name} must be positive, got {value}")


def video_folder(
    folder: str,
    size: int | None = None,
    multiple: int = 1,
    max_frames: int | None = None,
    frames: int | None = None,
    every: int = 60,
    limit: int | None = None,
) -> EvaluationSet:
    """
    Takes all videos below a folder, animated pictures among them, as a whole or in pieces.

    Args:
        size: length of the short side after resizing (bilinear, antialias); None leaves it.
        multiple: sides are cropped at the center to multiples of it.
        max_frames: so many first frames of a whole video.
        frames: takes pieces of so many frames instead, which begin
        every: so many frames after each other. Shorter videos are left out, and the protocol says how many.

    Raises:
        FileNotFoundError: there are none.
        ValueError: an option is not positive, or every video has fewer than `frames` frames.
    """
    _check_positive("video-folder", size=size, multiple=multiple, max_frames=max_frames, frames=frames, every=every)
    root = Path(folder)
    files = take(find_media(root, "video", "video-folder"), None, limit, "video-folder")
    too_short: dict[str, Any] = {}
    if frames is None:
        samples = [Sample(file, partial(load_video, root / file, max_frames, size, multiple)) for file in files]
    else:
        lengths = {file: _length(root / file) for file in files}
        samples = [
            Sample(f"{file}@{start}", partial(load_piece, root / file, start, frames, size, multiple))
            for file, length in lengths.items()
            for start in range(0, length - frames + 1, every)
        ]
        if not samples:
            longest = max(lengths.values())
            raise ValueError(
                f"video-folder: frames must be at most the {longest} of the longest video, got {frames}; ask for fewer"
            )
        short = sum(length < frames for length in lengths.values())
        too_short = {"left out": f"{short} of {len(files)} videos, which are shorter"} if short else {}
    protocol = {
        "frames": f"{frames} from every {every} on" if frames else f"the first {max_frames}" if max_frames else "all",
        "resize": f"short side to {size}, bilinear, antialias" if size else "none",
        "crop": f"centre, to multiples of {multiple}" if multiple > 1 else "none",
        "range": "8-bit RGB",
        "count": len(samples),
        **too_short,
        **({"limit": limit} if limit is not None else {}),
    }
    return EvaluationSet(root.name, "video", samples, protocol, checksum(root, files))


def _length(path: Path) -> int:
    """Counts the frames that decode; headers do not always tell the truth."""
    return sum(1 for _ in iter_video(path, "video")[1])


def davis(
    folder: str, resolution: str = "1080p", max_frames: int = 300, videos: str | None = None, limit: int | None = None
) -> EvaluationSet:
    """
    Takes DAVIS: FOLDER/JPEGImages/<resolution>/<video>/*.jpg, 50 videos, as a whole up to `max_frames`.

    Args:
        videos: text file with one video's name on each line (such as ImageSets/2016/{train,val}.txt joined, which are
            the 50 of DAVIS 2016); without it there must be 50 folders.

    Raises:
        FileNotFoundError: no such folder, or a listed video is missing.
        ValueError: not 50 videos without a `limit`.
    """
    _check_positive("davis", max_frames=max_frames)
    root = existing(Path(folder) / "JPEGImages" / resolution, "davis", DAVIS)
    files = find_files(root, IMAGE_SUFFIXES, "davis", DAVIS)
    frames: dict[str, list[str]] = {}
    for file in files:
        frames.setdefault(file.split("/")[0], []).append(file)
    names = sorted(frames)
    if videos is not None:
        names = sorted(existing(videos, "davis: videos").read_text(encoding="utf-8").split())
        missing = [name for name in names if name not in frames]
        if missing:
            raise FileNotFoundError(f"davis: {root} lacks {', '.join(missing)}")
    names = take(names, 50, limit, "davis")
    samples = [
        Sample(name, partial(load_pictures, [root / file for file in frames[name][:max_frames]])) for name in names
    ]
    used = [file for name in names for file in frames[name]]
    protocol = {
        "resolution": resolution,
        "frames": f"up to {max_frames}",
        "resize": "none",
        "range": "8-bit RGB",
        "count": len(samples),
        **({"limit": limit} if limit is not None else {}),
    }
    return EvaluationSet("davis", "video", samples, protocol, checksum(root, used))


def tokenbench(folder: str, size: int = 720, max_frames: int = 300, limit: int | None = None) -> EvaluationSet:
    """
    Takes TokenBench: 471 videos, short side 720, up to `max_frames`.

    Raises:
        FileNotFoundError: there are none.
        ValueError: not 471 videos without a `limit`.
    """
    take(find_media(folder, "video", "tokenbench", TOKENBENCH), 471, limit, "tokenbench")
    found = video_folder(folder, size=size, max_frames=max_frames, limit=limit)
    return EvaluationSet("tokenbench", "video", found.samples, found.protocol, found.checksum)


def _sparse(name: str, root: Path, captions: dict[str, tuple[str, ...]], limit: int | None) -> EvaluationSet:
    """Takes videos with captions, by file name."""
    missing = [file for file in captions if not (root / file).is_file()]
    if missing:
        raise FileNotFoundError(f"{name}: {len(missing)} videos are missing, such as {root / missing[0]}")
    samples = [Sample(file, partial(load_sparsely, root / file), texts) for file, texts in captions.items()]
    protocol = {
        "frames": f"1 a second, at most {MOST_FRAMES} by linspace",
        "embedding": "every frame as an image, normalised, averaged, normalised",
        "count": len(samples),
        "captions": sum(map(len, captions.values())),
        **({"limit": limit} if limit is not None else {}),
    }
    return EvaluationSet(name, "video", samples, protocol, checksum(root, list(captions)))


def msrvtt_1ka(folder: str, pairs: str, limit: int | None = None) -> EvaluationSet:
    """
    Takes MSR-VTT 1K-A: 1,000 videos with one sentence each.

    Args:
        pairs: CSV with the columns video_id and sentence.

    Raises:
        FileNotFoundError: no such file, or a video is missing.
        ValueError: not 1,000 pairs without a `limit`, or other columns.
    """
    path = existing(pairs, "msrvtt-1ka: pairs", MSRVTT)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"video_id", "sentence"} <= set(rows[0]):
        given = ", ".join(rows[0]) if rows else "no rows"
        raise ValueError(f"msrvtt-1ka: pairs must have the columns video_id and sentence, got {given} in {path}")
    captions = {f"{row['video_id']}.mp4": (row["sentence"],) for row in rows}
    names = take(list(captions), 1_000, limit, "msrvtt-1ka")
    return _sparse("msrvtt-1ka", existing(folder, "msrvtt-1ka", MSRVTT), {n: captions[n] for n in names}, limit)


def msvd(folder: str, captions: str, test: str, limit: int | None = None) -> EvaluationSet:
    """
    Takes MSVD: the 670 videos of the test split, every caption of which is a query.

    Args:
        captions: JSON, {video: [captions]}.
        test: text file with one video on each line.

    Raises:
        FileNotFoundError: no such file, or a video is missing.
        ValueError: not 670 videos without a `limit`, or one without captions.
    """
    texts = json.loads(existing(captions, "msvd: captions", MSVD).read_text(encoding="utf-8"))
    names = existing(test, "msvd: test", MSVD).read_text(encoding="utf-8").split()
    names = take(names, 670, limit, "msvd")
    without = [name for name in names if not texts.get(name)]
    if without:
        raise ValueError(f"msvd: captions must have some for every video, got none for {without[0]} in {captions}")
    root = existing(folder, "msvd", MSVD)
    files = {re.sub(r"\.[^.]+$", "", file): file for file in find_files(root, VIDEO_SUFFIXES, "msvd", MSVD)}
    return _sparse("msvd", root, {files.get(name, f"{name}.avi"): tuple(texts[name]) for name in names}, limit)
