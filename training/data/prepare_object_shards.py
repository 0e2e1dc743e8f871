"""Prepares a corpus of 3D objects, such as Objaverse with Cap3D's captions, in shards: resumable, on many machines.

    python -m atoken.training.data.prepare_object_shards objaverse.csv OUT --captions Cap3D_automated_Objaverse.csv \\
        --processes 64 --shard 3/40

The manifest, CSV or JSON lines, has the column `path` and, if there are, `name` and `caption`. OUT gets tars, each with
an index beside it, and plan.json. The same command goes on where it was stopped; other options are refused. `--shard
I/N` does the I-th of N shares, counted from 0, on a machine of its own with the same OUT; no share may run twice at a
time. Training reads OUT by `{source: object-shards, path: OUT}`.
"""

import importlib.util
import json
import re
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from tqdm import tqdm

from atoken.processing.atomic_files_atoken import atomic_file

from .object_manifest import ListedObject, fingerprint, read_manifest
from .object_shard_writing import Preparation, prepare_object, write_shard
from .worker_apart import WorkerApart

PLAN = "plan.json"


def parse_share(text: str) -> tuple[int, int]:
    """
    Reads "I/N": which of how many shares.

    Raises:
        ValueError: it is something else, or I is not below N.
    """
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    share, shares = map(int, found.groups()) if found else (0, 0)
    if share >= shares:
        raise ValueError(f'share must be "I/N" with I from 0 to N - 1, got {text!r}')
    return share, shares


def check_plan(out: Path, plan: dict[str, Any]) -> None:
    """
    Writes OUT/plan.json, or compares with the one that is there.

    Raises:
        ValueError: the folder has shards of another plan; says what differs.
    """
    path = out / PLAN
    if path.is_file():
        found = json.loads(path.read_text(encoding="utf-8"))
        differs = [name for name in plan if found.get(name) != plan[name]]
        if differs:
            told = ", ".join(f"{name} {found.get(name)} and not {plan[name]}" for name in differs)
            raise ValueError(f"out must be a new folder, or one of the same plan, got {out} of {told}")
        return
    out.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(plan, indent=1) + "\n", encoding="utf-8")


def shards_of(objects: list[ListedObject], per_shard: int, share: int, shares: int) -> dict[int, list[ListedObject]]:
    """Gives the shards of a share, by number: every `shares`-th from the `share`-th on."""
    count = -(-len(objects) // per_shard)
    return {shard: objects[shard * per_shard : (shard + 1) * per_shard] for shard in range(share, count, shares)}


def prepare_shards(
    out: Path, shards: dict[int, list[ListedObject]], preparation: Preparation, processes: int
) -> dict[str, int]:
    """Prepares shards, `processes` of them at a time; gives how many objects are "prepared" and "passed over"."""
    totals = {"prepared": 0, "passed over": 0}

    def write(shard: int) -> dict[str, int]:
        with WorkerApart(prepare_object) as worker:
            return write_shard(out, shard, shards[shard], preparation, worker)

    # Threads only wait for their processes.
    with tqdm(total=len(shards), desc="shards", disable=not sys.stderr.isatty()) as bar:
        with ThreadPoolExecutor(processes) as pool:
            for job in as_completed([pool.submit(write, shard) for shard in shards]):
                for name, count in job.result().items():
                    totals[name] += count
                bar.update()
    return totals


def main(
    manifest: Annotated[Path, typer.Argument(help="A .csv or .jsonl with the column path.")],
    out: Annotated[Path, typer.Argument(help="Folder for the shards.")],
    root: Annotated[Path | None, typer.Option(help="What paths are relative to; else the manifest's folder.")] = None,
    captions: Annotated[Path | None, typer.Option(help="A .csv of names and captions, as Cap3D's.")] = None,
    views: Annotated[int, typer.Option(help="Pictures of each object.")] = Preparation.views,
    size: Annotated[int, typer.Option(help="Pixels of a picture's side.")] = Preparation.size,
    max_voxels: Annotated[int, typer.Option(help="Larger objects are passed over.")] = Preparation.max_voxels,
    check_visibility: Annotated[
        bool, typer.Option(help="Take for every voxel a view that sees it, which the official code does not.")
    ] = True,
    seconds: Annotated[float, typer.Option(help="For one object, then it is passed over.")] = Preparation.seconds,
    per_shard: Annotated[int, typer.Option(min=1, help="Objects of a shard.")] = 64,
    shard: Annotated[str, typer.Option(metavar="I/N", help="Do the I-th of N shares, counted from 0.")] = "0/1",
    processes: Annotated[int, typer.Option(min=1, help="Shards at a time.")] = 1,
) -> None:
    """Prepares every object of a share that is not prepared yet."""
    if importlib.util.find_spec("embreex") is None or importlib.util.find_spec("trimesh") is None:
        raise typer.BadParameter('preparing objects needs trimesh and embreex: pip install "atoken[3d]"')
    try:
        share, shares = parse_share(shard)
        preparation = Preparation(views, size, max_voxels, check_visibility, seconds)
        objects = read_manifest(manifest, root, captions)
        plan = {"objects": len(objects), "lists": fingerprint(manifest, captions), "per_shard": per_shard}
        # How long an object may take may be changed between runs.
        plan |= {name: value for name, value in asdict(preparation).items() if name != "seconds"}
        check_plan(out, plan)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(str(error)) from error
    counts = prepare_shards(out, shards_of(objects, per_shard, share, shares), preparation, processes)
    print(", ".join(f"{count} {name}" for name, count in counts.items()))


if __name__ == "__main__":
    typer.run(main)
