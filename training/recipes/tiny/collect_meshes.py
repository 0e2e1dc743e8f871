"""Collect the textured meshes that the tiny Gaussian decoder is trained and evaluated on.

They come out of Debian's `sweethome3d-furniture`, whose catalogs are zip files of OBJ, MTL and textures;
`meshes.json` beside this script lists every object that is used, with its author, its catalog's license and its
split. Objects that are variants of one model are on the same side.

    python -m atoken.training.recipes.tiny.collect_meshes OUT    # OUT/{train,heldout}/NAME/*.obj ..., OUT/manifest.json

Needs `apt-get` and `dpkg-deb` (Debian 12; run `apt-get update` first). Objects that are there already are left alone.
"""

import hashlib
import io
import json
import sys
import tempfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import typer
from tqdm import tqdm

from atoken.processing.atomic_files_atoken import atomic_file
from atoken.tokenizing.files import NewFolder

from .collect_media import archive_version, download, read_archive, safe_name

LIST = Path(__file__).with_name("meshes.json")
SUFFIXES = {".obj", ".mtl", ".jpg", ".jpeg", ".png", ".bmp", ".gif"}


def read_object(catalog: zipfile.ZipFile, path: str) -> dict[str, bytes]:
    """Reads the files of one object, by name: the meshes, materials and pictures in the folder of its OBJ."""
    folder = PurePosixPath(path).parent
    members = [PurePosixPath(name) for name in catalog.namelist()]
    members = [member for member in members if member.parent == folder and member.suffix.lower() in SUFFIXES]
    return {safe_name(member.name): catalog.read(str(member)) for member in members}


def write_object(files: dict[str, bytes], target: Path) -> None:
    """Writes a folder with these files, whole or not at all."""
    with NewFolder(target) as folder:
        for name, content in files.items():
            (folder / name).write_bytes(content)


def collect(meshes: dict[str, Any], archive: Path, out: Path) -> list[str]:
    """Makes OUT/{train,heldout}/NAME and OUT/manifest.json from the package; returns the objects it does not have."""
    version = archive_version(archive)
    catalogs = {name: f"{meshes['folder']}/{name}.sh3f" for name in meshes["licences"]}
    contents = read_archive(archive, set(catalogs.values()))
    opened = {name: zipfile.ZipFile(io.BytesIO(contents[path])) for name, path in catalogs.items() if path in contents}
    manifest, missing = [], []
    for item in tqdm(meshes["items"], desc="unpacking", disable=not sys.stderr.isatty()):
        target = out / item["split"] / safe_name(item["name"])
        files = read_object(opened[item["catalog"]], item["path"]) if item["catalog"] in opened else {}
        model = PurePosixPath(item["path"]).name
        if model not in files:
            missing.append(item["name"])
            continue
        if not target.is_dir():
            write_object(files, target)
        manifest.append(
            {
                **item,
                "file": f"{item['split']}/{item['name']}/{model}",
                "package": meshes["package"],
                "version": version,
                "licence": meshes["licences"][item["catalog"]],
                "sha256": hashlib.sha256(files[model]).hexdigest(),
            }
        )
    with atomic_file(out / "manifest.json") as temporary:
        temporary.write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return missing


def main(
    out: Annotated[Path, typer.Argument(help="Folder for the objects and manifest.json.")],
    archive: Annotated[Path | None, typer.Option(help="The package's .deb file, instead of downloading it.")] = None,
) -> None:
    """Unpacks every listed object."""
    meshes = json.loads(LIST.read_text(encoding="utf-8"))
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as cache:
        archive = archive or download(meshes["package"], meshes["channel"], meshes["version"], Path(cache))
        missing = collect(meshes, archive, out)
    if missing:
        print(f"not in {archive.name}: {', '.join(missing)}", file=sys.stderr)
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
