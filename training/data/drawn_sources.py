"""Sources that training alone has: the miniature world, clips drawn from photos, and prepared objects."""

from typing import Any

import numpy as np
from safetensors import safe_open

from atoken.miniature.captions import full_caption
from atoken.miniature.world import MiniatureWorld

from .object_shards import open_object_shards, undamaged
from .pans import glide
from .shards import open_hub, open_parquet, open_webdataset
from .sources import IndexedSource, Opener, existing_folder, open_folder

PANS_OF_A_PHOTO = 20  # different ones, before they repeat


def open_pans(kind: str, seed: int, path: str, size: float | None = None) -> IndexedSource:
    """Opens clips drawn from the photos below a folder, which stay in memory: a camera glides over them."""
    if kind != "video":
        raise ValueError(f'kind must be "video" for pans, got {kind!r}')
    photos = open_folder("image", seed, path, size, keep_decoded=True)

    def read(index: int) -> dict[str, Any]:
        rng = np.random.default_rng((seed, index))
        return {"media": glide(photos.read(index % photos.length)["media"], rng)}

    return IndexedSource(f"pans over {path}", read, photos.length * PANS_OF_A_PHOTO, seed, size)


def open_objects(kind: str, seed: int, path: str, size: float | None = None) -> IndexedSource:
    """Opens files of `prepare_objects` or of `prepare_miniature`; the caption is in their metadata."""
    if kind != "object":
        raise ValueError(f'kind must be "object" for prepared objects, got {kind!r}')
    files = sorted(existing_folder(path).rglob("*.safetensors"))

    def read(index: int) -> dict[str, Any]:
        with undamaged(str(files[index])), safe_open(files[index], "pt") as file:
            caption = (file.metadata() or {}).get("caption")
        return {"media": files[index], **({"caption": caption} if caption else {})}

    return IndexedSource(str(path), read, len(files), seed, size)


def open_miniature(
    kind: str,
    seed: int,
    length: int = 10000,
    pixels: int = 64,
    frames: int = 8,
    size: float | None = None,
) -> IndexedSource:
    """Opens the training split of the miniature world, with captions that say everything."""
    if kind == "object":
        raise ValueError(
            'kind must be "image" or "video" for the miniature world, got \'object\'; `prepare_miniature` prepares its '
            'objects for the source "objects"'
        )
    world = MiniatureWorld(kind, "train", length, seed, pixels, frames)

    def read(index: int) -> dict[str, Any]:
        return {"media": world[index]["sample"], "caption": full_caption(world.describe(index)[0])}

    return IndexedSource(f"miniature {kind}s", read, length, seed, size)


OPENERS: dict[str, Opener] = {
    "folder": open_folder,
    "pans": open_pans,
    "objects": open_objects,
    "object-shards": open_object_shards,
    "miniature": open_miniature,
    "webdataset": open_webdataset,
    "parquet": open_parquet,
    "hub": open_hub,
}
