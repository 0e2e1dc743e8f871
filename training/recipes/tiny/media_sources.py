"""Write the sources that the tiny tokenizers are trained on: media are drawn by package, not by file.

    python -m atoken.training.recipes.tiny.media_sources training/recipes/tiny/sources/tiny.yaml

A package with many pictures would otherwise decide alone what a photo looks like. Its share is the square root of their
number, so that the picture of a package of one is not shown a hundred times as often either. Pictures that are no
photographs together get `OTHERS` of all draws.
"""

import json
import math
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from atoken.processing.atomic_files_atoken import atomic_file

from .collect_media import LIST, place
from .collect_meshes import LIST as MESHES

OTHERS = 0.2  # of all draws, of paintings, textures and generated pictures together
FEWEST_TO_PAN = 5  # a package of fewer photos makes no pans: each photo gives a dozen of them already

HEAD = """\
# What a laptop has: pictures, clips and meshes out of packages of Debian, PyPI and npm, and the miniature world. `data`
# is the folder that `make data` fills. Written by media_sources.
"""


def picture_folders(media: dict[str, Any]) -> tuple[dict[str, int], dict[str, int]]:
    """Counts the training pictures in each folder below `data`: of photos, and of other pictures."""
    train = [item for item in media["items"] if item["split"] == "train" and item["kind"] != "clip"]
    photos, others = (
        Counter(place(item).rpartition("/")[0] for item in train if (item["kind"] == "photo") == is_photo)
        for is_photo in (True, False)
    )
    return dict(sorted(photos.items())), dict(sorted(others.items()))


def shares(counts: dict[str, int], total: float) -> dict[str, float]:
    """Gives each folder its share of a total, in proportion to the square root of its files."""
    whole = sum(math.sqrt(count) for count in counts.values())
    return {folder: total * math.sqrt(count) / whole for folder, count in counts.items()}


def sources(media: dict[str, Any], meshes: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """
    Gives the sources of every task.

    Args:
        media, meshes: what `media.json` and `meshes.json` hold.

    Returns:
        For each task its entries, as `atoken.training.data.tasks.read_data` reads them.
    """
    photos, others = picture_folders(media)
    objects = Counter(item["source"] for item in meshes["items"] if item["split"] == "train")
    pictures = {**shares(photos, 1 - OTHERS), **shares(others, OTHERS)}
    panned = {folder: count for folder, count in photos.items() if count >= FEWEST_TO_PAN}
    return {
        "image_understanding": [{"source": "miniature", "length": 200000}],
        "image_reconstruction": [
            {"source": "folder", "path": f"data/{folder}", "size": round(share, 4), "keep_decoded": True}
            for folder, share in pictures.items()
        ],
        "video_understanding": [{"source": "miniature", "length": 50000}],
        "video_reconstruction": [
            {"source": "folder", "path": "data/clips/train", "size": 1, "keep_decoded": True},
            {"source": "folder", "path": "data/clips/turning", "size": 0.25, "keep_decoded": True},
            *(
                {"source": "pans", "path": f"data/{folder}", "size": round(share, 4)}
                for folder, share in shares(panned, 0.75).items()
            ),
        ],
        "3d_understanding": [{"source": "objects", "path": "data/miniature-objects"}],
        "3d_reconstruction": [
            {"source": "objects", "path": f"data/objects/train/{source}", "size": round(share, 4)}
            for source, share in shares(dict(sorted(objects.items())), 1).items()
        ],
    }


def as_yaml(tasks: dict[str, list[dict[str, Any]]]) -> str:
    """Writes the sources of every task as YAML, an entry on each line."""
    lines = [HEAD.rstrip()]
    for task, entries in tasks.items():
        lines.append(f"{task}:")
        for entry in entries:
            line = yaml.safe_dump(entry, default_flow_style=True, sort_keys=False, width=math.inf)
            lines.append(f"  - {line.rstrip()}")
    return "\n".join(lines) + "\n"


def main(out: Annotated[Path, typer.Argument(help="File to write, .yaml.")]) -> None:
    """Writes the sources of what is in `media.json` and `meshes.json`."""
    media, meshes = (json.loads(path.read_text(encoding="utf-8")) for path in (LIST, MESHES))
    with atomic_file(out) as temporary:
        temporary.write_text(as_yaml(sources(media, meshes)), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
