"""Twelve pictures with captions, as every kind of source that can be written to a disk."""

import io
import tarfile
from pathlib import Path
from typing import Any

from datasets import Dataset
from PIL import Image

SOURCES = ("folder", "parquet", "webdataset", "hub")


def png(color: tuple[int, int, int]) -> bytes:
    """Draws a plain picture."""
    file = io.BytesIO()
    Image.new("RGB", (40, 30), color).save(file, "PNG")
    return file.getvalue()


def write_pictures(source: str, folder: Path) -> dict[str, Any]:
    """Writes twelve pictures of different colors, "picture 0" to "picture 11", and gives the entry of their source."""
    colors = [(20 * index, 0, 255 - 20 * index) for index in range(12)]
    names = [f"picture {index}" for index in range(12)]
    if source == "folder":
        for index, color in enumerate(colors):
            (folder / f"{index:02d}.png").write_bytes(png(color))
            (folder / f"{index:02d}.txt").write_text(names[index])
        return {"source": "folder", "path": str(folder)}
    if source == "webdataset":
        for shard in range(2):
            with tarfile.open(folder / f"{shard}.tar", "w") as tar:
                for index in range(6 * shard, 6 * shard + 6):
                    for ending, content in (("png", png(colors[index])), ("txt", names[index].encode())):
                        info = tarfile.TarInfo(f"{index:02d}.{ending}")
                        info.size = len(content)
                        tar.addfile(info, io.BytesIO(content))
        return {"source": "webdataset", "files": f"{folder}/*.tar", "media": "png", "caption": "txt", "size": 12}
    rows = {"image": [{"bytes": png(color), "path": None} for color in colors], "text": names}
    for shard in range(2):
        part = {name: values[6 * shard : 6 * shard + 6] for name, values in rows.items()}
        Dataset.from_dict(part).to_parquet(folder / f"{shard}.parquet")
    place = {"files": f"{folder}/*.parquet"} if source == "parquet" else {"repo": str(folder)}
    return {"source": source, **place, "media": "image", "caption": "text", "size": 12}
