"""Makes of the collected data a folder small enough to send to a machine with a GPU.

    python -m atoken.training.recipes.tiny.shrink_data DATA OUT --megabytes 60

Pictures have a short side of at most 256 pixels there, clips one of 160 and at most 64 frames; objects fill what is
left of the megabytes, half of them those of the miniature world. The folders are called as in DATA, so that the
curriculum runs on OUT. What exists is left alone.
"""

import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from .clip_files import cut_clip
from .photo_files import load_photo, save_photo

PHOTO_SIDE, CLIP_SIDE, CLIP_FRAMES = 256, 160, 64
OBJECTS = ("objects/train", "miniature-objects")  # below DATA, by turns


class TooLarge(ValueError):
    """Says that pictures and clips alone are larger than what is allowed."""


def size_of(folder: Path) -> int:
    """Adds up the bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def by_turns(lists: list[list[Path]]) -> Iterable[Path]:
    """Gives the first of each list, then the second of each, as long as there are any."""
    for place in range(max(map(len, lists))):
        yield from (paths[place] for paths in lists if place < len(paths))


def shrink_media(data: Path, out: Path) -> None:
    """Writes pictures and clips at their small sizes."""
    photos, clips = sorted((data / "photos").rglob("*.jpg")), sorted((data / "clips").rglob("*.*"))
    for path in tqdm([*photos, *clips], desc="shrinking", disable=not sys.stderr.isatty()):
        target = out / path.relative_to(data)
        if path in clips:
            target = target.with_suffix(".mp4")
        if target.is_file():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if path in clips:
            cut_clip(path.read_bytes(), target, 0, CLIP_FRAMES, short_side=CLIP_SIDE)
        else:
            save_photo(load_photo(path.read_bytes()), target, short_side=PHOTO_SIDE)


def fill_with_objects(data: Path, out: Path, most: int) -> int:
    """
    Copies prepared objects until OUT has at most that many bytes; returns how many were copied.

    Raises:
        TooLarge: OUT has more already.
    """
    used, copied = size_of(out), 0
    if used > most:
        raise TooLarge(f"megabytes must be at least {used / 1e6:.0f} for pictures and clips, got {most / 1e6:.0f}")
    for path in by_turns([sorted((data / name).rglob("*.safetensors")) for name in OBJECTS]):
        target, size = out / path.relative_to(data), path.stat().st_size
        if target.is_file() or used + size > most:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
        used, copied = used + size, copied + 1
    return copied


def main(
    data: Annotated[Path, typer.Argument(help="Folder that `make data` has filled.")],
    out: Annotated[Path, typer.Argument(help="Folder for the small data.")],
    megabytes: Annotated[float, typer.Option(help="That OUT may have.")] = 60.0,
) -> None:
    """Writes what is not there yet."""
    out.mkdir(parents=True, exist_ok=True)
    shrink_media(data, out)
    try:
        copied = fill_with_objects(data, out, round(megabytes * 1e6))
    except TooLarge as error:
        raise typer.BadParameter(str(error)) from error
    print(f"{size_of(out) / 1e6:.1f} MB, {copied} objects copied")


if __name__ == "__main__":
    typer.run(main)
