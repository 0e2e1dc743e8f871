"""Where the examples of WebDataset tars lie: found once, kept in a folder, and read from there by every process.

    python -m atoken.training.data.tar_index INDEX "dfn/*.tar" --media jpg --caption txt --processes 16

An example is a sample as `tar_samples` finds it. INDEX is what the data file then gives as `index`. Without it, every
process of a run that opens the source makes the index, and all take the one that is done first.
"""

import glob
import json
import tarfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image

from atoken.tokenizing.files import NewFolder
from atoken.tokenizing.shard_samples import tar_samples

EXAMPLES, SHARDS = "examples.npy", "shards.json"
# Offsets and lengths in bytes; a caption of length -1 is not there; the side of what is no picture is infinite.
EXAMPLE = np.dtype(
    [
        ("shard", "<i4"),
        ("media", "<i8"),
        ("media_bytes", "<i8"),
        ("caption", "<i8"),
        ("caption_bytes", "<i4"),
        ("side", "<f4"),
    ]
)


def matching_files(files: str | Sequence[str]) -> list[Path]:
    """
    Finds the files of patterns, sorted.

    Raises:
        FileNotFoundError: a pattern has none.
    """
    found: set[str] = set()
    for pattern in [files] if isinstance(files, str) else files:
        names = glob.glob(pattern, recursive=True)
        if not names:
            raise FileNotFoundError(f"files: there is none that matches {pattern}")
        found.update(names)
    return [Path(name) for name in sorted(found)]


def index_tar(path: Path, media: str, caption: str | None) -> np.ndarray:
    """
    Finds the examples of one tar.

    Args:
        path: of a tar that is not compressed.
        media, caption: endings of the members' names, without the first dot.

    Returns:
        (n,) of `EXAMPLE`, all of shard 0, in the order of the tar.

    Raises:
        ValueError: it is no such tar.
    """
    found: list[tuple] = []
    try:
        with tarfile.open(path, "r:") as tar:
            for _, members in tar_samples(tar):
                # A sparse file has a few bytes in the tar and any number of zeros.
                parts = {ending: member for ending, member in members if not member.issparse()}
                medium, text = parts.get(media.lower()), parts.get(caption.lower()) if caption else None
                if medium is not None:
                    place = (text.offset_data, text.size) if text is not None else (0, -1)
                    found.append((0, medium.offset_data, medium.size, *place, _side(tar, medium)))
    except tarfile.TarError as error:
        raise ValueError(f"files must be tars that are not compressed, got {path}: {error}") from error
    return np.array(found, dtype=EXAMPLE)


def _side(tar: tarfile.TarFile, member: tarfile.TarInfo) -> float:
    """Reads the geometric mean of a picture's sides from its first bytes; infinite of what is no picture."""
    try:
        with tar.extractfile(member) as file, Image.open(file) as image:
            return float(np.sqrt(image.width * image.height))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        # Whether it can be decoded is found out when it is.
        return float("inf")


def write_index(
    folder: Path, files: Sequence[Path], media: str, caption: str | None, processes: int = 1, keep: bool = False
) -> None:
    """
    Writes the index of tars into a new folder, whole or not at all.

    Args:
        folder: to write.
        files: the tars.
        media, caption: see `index_tar`.
        processes: that read tars.
        keep: whether an index that is there when this one is done stays, see `NewFolder`.

    Raises:
        ValueError: a file is no tar, or no tar has an example.
    """
    arguments = list(files), [media] * len(files), [caption] * len(files)
    if processes > 1:
        with ProcessPoolExecutor(processes) as pool:
            parts = list(pool.map(index_tar, *arguments))
    else:
        parts = [index_tar(*each) for each in zip(*arguments, strict=True)]
    for shard, part in enumerate(parts):
        part["shard"] = shard
    examples = np.concatenate(parts)
    if not len(examples):
        raise ValueError(f"media must be the ending of files in the tars, got {media!r}, which none of them has")
    with NewFolder(folder, keep) as new:
        np.save(new / EXAMPLES, examples)
        shards = {"media": media, "caption": caption, "files": [str(path.absolute()) for path in files]}
        shards["counts"] = [len(part) for part in parts]
        (new / SHARDS).write_text(json.dumps(shards), encoding="utf-8")


def read_index(folder: Path, media: str, caption: str | None) -> tuple[list[Path], list[int], np.ndarray]:
    """
    Opens an index.

    Returns:
        The tars, how many examples each has, and the examples, which stay on the disk until they are looked at.

    Raises:
        ValueError: it is none, or one of other endings.
    """
    try:
        shards = json.loads((folder / SHARDS).read_text(encoding="utf-8"))
        examples = np.load(folder / EXAMPLES, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise ValueError(f"index must be a folder that tar_index has written, got {folder}: {error}") from error
    if (shards["media"], shards["caption"]) != (media, caption):
        raise ValueError(
            f"index must be of media {media!r} and caption {caption!r}, got {folder} of {shards['media']!r} and "
            f"{shards['caption']!r}; index the tars again"
        )
    return [Path(name) for name in shards["files"]], shards["counts"], examples


def main(
    index: Annotated[Path, typer.Argument(help="Folder to write.")],
    files: Annotated[list[str], typer.Argument(help="Tars, or patterns of them.")],
    media: Annotated[str, typer.Option(help="Ending of media, such as jpg.")],
    caption: Annotated[str | None, typer.Option(help="Ending of captions, such as txt.")] = None,
    processes: Annotated[int, typer.Option(help="That read tars.")] = 1,
) -> None:
    """Indexes WebDataset tars for training."""
    write_index(index, matching_files(files), media, caption, processes)


if __name__ == "__main__":
    typer.run(main)
