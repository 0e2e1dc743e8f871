"""Cut-out photographs with captions, laid on pieces of training photos: animals, fruit and things that photos lack.

    python -m atoken.training.recipes.tiny.words_stamps DATA

They are the stamps of Debian's tuxpaint-stamps-default (GPL-2), used for training alone. DATA/words/stamps has a file
for each picture, as `words_targets` describes them, which has to run before; of the vectors of words half are the
teacher's and half the caption's. What exists is left alone.
"""

import io
import random
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import torch
import typer
from PIL import Image, ImageFilter
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from tqdm import tqdm

from atoken.processing.atomic_files_atoken import atomic_file

from .package_archives import download
from .photo_files import JPEG_OPTIONS
from .words_targets import SPACES, load_teacher, seeded, targets_of
from .words_vectors import WordVectors

STAMPS = ("tuxpaint-stamps-default", "debian", "2022.06.04-1")
# Photographs alone: other folders hold drawings, signs and letters.
_PHOTOGRAPHS = re.compile(
    r"\./usr/share/tuxpaint/stamps/(animals|food|plants|vehicles|hobbies|household)/(?!.*cartoon)"
)
SIDE = 256
LEAST_SIDE = 96  # of a stamp in pixels, and of the piece of a photo behind it
SIZES = (0.6, 0.95)  # of a stamp's longer side, as a share of the picture's
BLURRED = 0.5  # share of the pictures whose background is out of focus


def read_stamps(archive: Path) -> Iterator[tuple[str, Image.Image, str]]:
    """Gives name, picture (RGBA) and English caption of every photographic stamp that is large enough."""
    pictures: dict[str, bytes] = {}
    captions: dict[str, str] = {}
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        with tarfile.open(fileobj=process.stdout, mode="r|") as tar:
            for member in tar:
                path = member.name
                if not _PHOTOGRAPHS.match(path) or (content := tar.extractfile(member)) is None:
                    continue
                if path.endswith(".png"):
                    pictures[path[:-4]] = content.read()
                elif path.endswith(".txt"):
                    # The first line is the English one.
                    captions[path[:-4]] = content.read().decode("utf-8", "replace").partition("\n")[0].strip()
        process.stdout.read()
    for path in sorted(pictures):
        with Image.open(io.BytesIO(pictures[path])) as picture:
            stamp = picture.convert("RGBA")
        if captions.get(path) and max(stamp.size) >= LEAST_SIDE:
            yield "-".join(path.split("/")[5:]), stamp, captions[path]


def lay(stamp: Image.Image, photo: Image.Image, rng: random.Random) -> Image.Image:
    """Lays a stamp on a piece of a photo: a picture of `SIDE` x `SIDE` pixels, mirrored in half of the cases."""
    side = rng.randint(min(LEAST_SIDE, *photo.size), min(photo.size))
    left, top = rng.randint(0, photo.width - side), rng.randint(0, photo.height - side)
    picture = photo.crop((left, top, left + side, top + side)).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    if rng.random() < BLURRED:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(2, 12)))
    scale = rng.uniform(*SIZES) * SIDE / max(stamp.size)
    size = (max(1, round(stamp.width * scale)), max(1, round(stamp.height * scale)))
    laid = stamp.resize(size, Image.Resampling.LANCZOS)
    if rng.random() < 0.5:
        laid = laid.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    place = (rng.randint(0, SIDE - size[0]), rng.randint(0, SIDE - size[1]))
    picture.paste(laid, place, laid)
    return picture


def main(
    data: Annotated[Path, typer.Argument(help="Folder with photos and words.")],
    pictures: Annotated[int, typer.Option(help="Of each stamp, each on another photo.")] = 4,
    crops: Annotated[int, typer.Option(help="Of each picture.")] = 3,
    cache: Annotated[
        Path | None, typer.Option(help="Folder that keeps the downloaded packages. [default: DATA/packages]")
    ] = None,
    threads: Annotated[int, typer.Option(help="Of the processor.")] = 1,
) -> None:
    """Writes the targets of every picture that has none yet."""
    torch.set_num_threads(threads)
    cache, out = (cache or data / "packages").resolve(), data / "words/stamps"
    if not (out.parent / SPACES).is_file():
        raise typer.BadParameter(f"DATA must have words/{SPACES}, got {data} without; run words_targets first")
    photos = sorted((data / "photos/train").rglob("*.jpg"))
    stamps = list(read_stamps(download(*STAMPS, cache)))
    teacher, words, spaces = load_teacher(cache), WordVectors.load(cache), load_file(out.parent / SPACES)
    classes = words.classes()
    out.mkdir(exist_ok=True)
    for name, stamp, caption in tqdm(stamps, desc="stamps", disable=not sys.stderr.isatty()):
        named = F.normalize(words([caption.strip(".").lower()])[0], dim=0)
        for number in range(pictures):
            target = out / f"{name}-{number}.safetensors"
            if target.is_file():
                continue
            rng, content = seeded(target.name), io.BytesIO()
            with Image.open(rng.choice(photos)) as photo:
                lay(stamp, photo.convert("RGB"), rng).save(content, "JPEG", **JPEG_OPTIONS)
            tensors = targets_of(teacher, classes, spaces, content.getvalue(), crops, rng, named)
            with atomic_file(target) as temporary:
                save_file(tensors, temporary)


if __name__ == "__main__":
    typer.run(main)
