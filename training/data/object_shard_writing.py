"""One shard of prepared objects: each prepared in another process, kept as it is done, and packed when all are there.

Meshes of the wild crash their readers, need too much memory or never end. None of this ends the run: such an object is
passed over with its reason. A run that is killed loses the objects that it was at.
"""

import json
import shutil
import tarfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from atoken.processing.atomic_files_atoken import atomic_file
from atoken.processing.voxel_processing_atoken import AtokenVoxelProcessor

from .object_manifest import ListedObject
from .object_shards import encode_pictures
from .prepare_objects import prepare
from .worker_apart import WorkerApart

TOKENS_SUFFIX, VIEWS_SUFFIX, REASON_SUFFIX = ".safetensors", ".views.safetensors", ".skipped.txt"


@dataclass(frozen=True)
class Preparation:
    """
    Says how objects are prepared; what decides the files of a shard.

    Attributes:
        views: pictures of each object, from cameras that depend on its name alone.
        size: pixels of a picture's side.
        max_voxels: larger objects are passed over.
        check_visibility: see `AtokenVoxelProcessor`.
        seconds: for one object, after which it is passed over.
    """

    views: int = 150
    size: int = 512
    max_voxels: int = 20000
    check_visibility: bool = True
    seconds: float = 1800.0

    def __post_init__(self):
        for name in ("views", "size", "max_voxels", "seconds"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")


def is_done(out: Path, shard: int) -> bool:
    """Tells whether a shard is there, as long as its index says."""
    index, tar = _index_path(out, shard), _index_path(out, shard).with_suffix(".tar")
    if not index.is_file() or not tar.is_file():
        return False
    return json.loads(index.read_text(encoding="utf-8"))["bytes"] == tar.stat().st_size


def write_shard(
    out: Path, shard: int, objects: Sequence[ListedObject], preparation: Preparation, worker: WorkerApart
) -> dict[str, int]:
    """
    Prepares the objects of a shard and writes its tar and then its index, unless they are there.

    Args:
        out: folder of the shards.
        shard: its number.
        objects: all of this shard, in their order.
        preparation: how.
        worker: a process that runs `prepare_object`.

    Returns:
        How many objects are "prepared" and how many "passed over".
    """
    if not is_done(out, shard):
        # Objects wait here for the others of their shard; what a run that was killed has left is taken over.
        waiting = out / f".objects-{shard:06d}"
        waiting.mkdir(parents=True, exist_ok=True)
        for each in objects:
            if not any((waiting / f"{each.name}{suffix}").is_file() for suffix in (TOKENS_SUFFIX, REASON_SUFFIX)):
                _prepare_apart(each, waiting, preparation, worker)
        _pack(out, shard, objects, waiting, preparation)
        shutil.rmtree(waiting)
    index = json.loads(_index_path(out, shard).read_text(encoding="utf-8"))
    return {"prepared": len(index["objects"]), "passed over": len(index["skipped"])}


def _index_path(out: Path, shard: int) -> Path:
    return out / f"objects-{shard:06d}.json"


def _prepare_apart(each: ListedObject, waiting: Path, preparation: Preparation, worker: WorkerApart) -> None:
    """Prepares an object where it may crash or never end."""
    reason = worker.run(each, waiting, preparation, seconds=preparation.seconds)
    if reason is not None:
        _skip(each, waiting, reason)


def _skip(each: ListedObject, waiting: Path, reason: str) -> None:
    with atomic_file(waiting / f"{each.name}{REASON_SUFFIX}") as temporary:
        temporary.write_text(reason, encoding="utf-8")


def prepare_object(each: ListedObject, waiting: Path, preparation: Preparation) -> None:
    """Prepares an object and writes its files into a folder, or the reason why it is passed over."""
    torch.set_num_threads(1)
    processor = AtokenVoxelProcessor(check_visibility=preparation.check_visibility)
    try:
        tensors = prepare(
            each.path, processor, preparation.views, preparation.size, preparation.max_voxels, seed_name=each.name
        )
    except (OSError, ValueError, MemoryError) as error:
        _skip(each, waiting, str(error) or type(error).__name__)
        return
    views = encode_pictures(tensors["images"])
    views |= {name: tensors[name].contiguous() for name in ("world_to_camera", "intrinsics")}
    caption = {} if each.caption is None else {"caption": each.caption}
    with atomic_file(waiting / f"{each.name}{VIEWS_SUFFIX}") as temporary:
        save_file(views, temporary)
    # Last, as it says that the object is done.
    with atomic_file(waiting / f"{each.name}{TOKENS_SUFFIX}") as temporary:
        save_file({name: tensors[name] for name in ("coords", "rgb")}, temporary, metadata=caption)


def _pack(out: Path, shard: int, objects: Sequence[ListedObject], waiting: Path, preparation: Preparation) -> None:
    """Writes the tar and its index, each whole; the same objects give the same bytes."""
    entries: list[dict[str, Any]] = []
    skipped: dict[str, str] = {}
    path = _index_path(out, shard)
    with atomic_file(path.with_suffix(".tar")) as temporary:
        with tarfile.open(temporary, "w") as tar:
            for each in objects:
                reason = waiting / f"{each.name}{REASON_SUFFIX}"
                if reason.is_file():
                    skipped[each.name] = reason.read_text(encoding="utf-8")
                    continue
                tokens = _add(tar, waiting / f"{each.name}{TOKENS_SUFFIX}")
                views = _add(tar, waiting / f"{each.name}{VIEWS_SUFFIX}")
                caption = {} if each.caption is None else {"caption": each.caption}
                entries.append({"name": each.name, "tokens": tokens, "views": views, **caption})
        size = temporary.stat().st_size
    index = {"bytes": size, "preparation": asdict(preparation), "objects": entries, "skipped": skipped}
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(index) + "\n", encoding="utf-8")


def _add(tar: tarfile.TarFile, file: Path) -> tuple[int, int]:
    """Adds a file without owner and time; gives where its content is in the tar, and how long."""
    member = tarfile.TarInfo(file.name)
    member.size = file.stat().st_size
    with open(file, "rb") as content:
        start = tar.offset + len(member.tobuf())
        tar.addfile(member, content)
    return start, member.size
