"""Sets of images by the protocols of Tables 4 and 5: short side resized (bicubic, antialias), center crop."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tvF

from atoken.processing.media_suffixes_atoken import IMAGE_SUFFIXES
from atoken.tokenizing.images import read_image
from atoken.tokenizing.shard_samples import medium_of_cell

from ..interface import EvaluationSet, Sample
from ..metrics.understanding import IMAGENET_TEMPLATES
from .file_lists import checksum, existing, find_files, find_media, take

IMAGENET = "ImageNet is at https://image-net.org/download.php, for research on request: ILSVRC2012_img_val"
IMAGENET_V2 = "ImageNet-V2 is at https://huggingface.co/datasets/vaishaal/ImageNetV2 (matched frequency)"
COCO = "COCO is at https://cocodataset.org/#download: val2017 or val2014; captions by Karpathy's dataset_coco.json"
FLICKR = "Flickr30k is at https://shannon.cs.illinois.edu/DenotationGraph/, on request; split dataset_flickr30k.json"


def load_square(path: Path, size: int) -> torch.Tensor:
    """Reads (1, 3, size, size) uint8: short side resized to `size`, bicubic with antialias, then the center."""
    return square(read_image(path), size)


def square(image: torch.Tensor, size: int) -> torch.Tensor:
    """Makes a square (1, 3, size, size) of (3, H, W) uint8; see `load_square`."""
    image = tvF.resize(image, [size], interpolation=InterpolationMode.BICUBIC, antialias=True)
    return tvF.center_crop(image, [size, size])[None]


def _protocol(size: int, count: int, limit: int | None, **facts: Any) -> dict[str, Any]:
    return {
        "resize": f"short side to {size}, bicubic, antialias; smaller images are enlarged",
        "crop": f"centre {size}x{size}",
        "range": "8-bit RGB",
        "count": count,
        **({"limit": limit} if limit is not None else {}),
        **facts,
    }


def _from_files(
    name: str,
    root: Path,
    files: Sequence[str],
    size: int,
    limit: int | None,
    describe: Callable[[str], dict[str, Any]] = lambda file: {},
    class_names: Sequence[str] = (),
    **facts: Any,
) -> EvaluationSet:
    if size < 1:
        raise ValueError(f"{name}: size must be positive, got {size}")
    samples = [Sample(file, partial(load_square, root / file, size), **describe(file)) for file in files]
    return EvaluationSet(
        name,
        "image",
        samples,
        _protocol(size, len(samples), limit, **facts),
        checksum(root, files),
        tuple(class_names),
        IMAGENET_TEMPLATES if class_names else (),
    )


def image_folder(folder: str, size: int = 256, limit: int | None = None) -> EvaluationSet:
    """
    Takes all images below a folder. Animated pictures are videos, see `video_folder`.

    Raises:
        FileNotFoundError: there are none.
    """
    root = Path(folder)
    files = take(find_media(root, "image", "image-folder"), None, limit, "image-folder")
    return _from_files(root.name, root, files, size, limit)


def labeled_folder(folder: str, size: int = 256, limit: int | None = None) -> EvaluationSet:
    """
    Takes images in one folder for each class, named as the class is called.

    Raises:
        FileNotFoundError: there are none.
        ValueError: an image lies outside of a class's folder.
    """
    root = Path(folder)
    files = find_media(root, "image", "labelled-folder")
    _check_classes(files, "labelled-folder")
    names = sorted({file.split("/")[0] for file in files})
    files = take(files, None, limit, "labelled-folder")
    label = {name: index for index, name in enumerate(names)}
    return _from_files(root.name, root, files, size, limit, lambda file: {"label": label[file.split("/")[0]]}, names)


def _check_classes(files: Sequence[str], what: str) -> None:
    """Refuses images, relative to the folder of a set, that lie in no folder of a class."""
    outside = [file for file in files if "/" not in file]
    if outside:
        raise ValueError(
            f"{what}: images must lie in one folder for each class, got {outside[0]} outside of them; move each image "
            "into the folder of its class"
        )


def _class_names(path: str | None, folders: Sequence[str], what: str) -> list[str]:
    """Reads names in the order of class folders, from JSON: a list in that order, or {folder: name}."""
    if path is None:
        return []
    names = json.loads(existing(path, f"{what}: class_names").read_text(encoding="utf-8"))
    if isinstance(names, dict):
        missing = [folder for folder in folders if folder not in names]
        if missing:
            raise ValueError(f"{what}: class_names must name every folder, got {path} without {missing[0]}")
        return [names[folder] for folder in folders]
    if len(names) != len(folders):
        raise ValueError(f"{what}: class_names must be {len(folders)} names, got {len(names)} in {path}")
    return names


def imagenet_val(
    folder: str, size: int = 256, class_names: str | None = None, limit: int | None = None
) -> EvaluationSet:
    """
    Takes ImageNet's validation images: FOLDER/<wnid>/*.JPEG for zero-shot accuracy, in any folders for reconstruction.

    Args:
        class_names: JSON file, {wnid: name} or the names in the order of sorted wnids; needed for zero-shot accuracy.

    Raises:
        FileNotFoundError: no such folder or file.
        ValueError: not 50,000 images without a `limit`, or names that do not fit or whose images lie in no folders.
    """
    return _by_class("imagenet-val", folder, size, class_names, limit, 50_000, IMAGENET, numeric=False)


def imagenet_v2(
    folder: str, size: int = 256, class_names: str | None = None, limit: int | None = None
) -> EvaluationSet:
    """
    Takes ImageNet-V2, matched frequency: FOLDER/<class index>/*.jpeg.

    Arguments and errors are those of `imagenet_val`, for 10,000 images; names come in the order of indices.
    """
    return _by_class("imagenet-v2", folder, size, class_names, limit, 10_000, IMAGENET_V2, numeric=True)


def _by_class(
    name: str,
    folder: str,
    size: int,
    class_names: str | None,
    limit: int | None,
    expected: int,
    source: str,
    numeric: bool,
) -> EvaluationSet:
    root, files = Path(folder), find_files(folder, IMAGE_SUFFIXES, name, source)
    files = take(files, expected, limit, name)
    if class_names is None:
        return _from_files(name, root, files, size, limit)
    _check_classes(files, f"{name} with class_names")
    folders = sorted(
        (entry.name for entry in root.iterdir() if entry.is_dir()), key=(lambda one: int(one)) if numeric else None
    )
    label = {one: index for index, one in enumerate(folders)}
    names = _class_names(class_names, folders, name)
    return _from_files(name, root, files, size, limit, lambda file: {"label": label[file.split("/")[0]]}, names)


def coco(folder: str, split: str | None = None, size: int = 256, limit: int | None = None) -> EvaluationSet:
    """
    Takes COCO's validation images: all 5,000 of val2017, or with captions Karpathy's test split.

    Args:
        folder: where the images are; with a split, the folder that holds val2014.
        split: dataset_coco.json.

    Raises:
        FileNotFoundError: no such folder or file, or an image of the split is missing.
        ValueError: not 5,000 images without a `limit`.
    """
    if split is not None:
        return _karpathy("coco", folder, split, size, limit, 5_000, COCO)
    files = take(find_files(folder, IMAGE_SUFFIXES, "coco", COCO), 5_000, limit, "coco")
    return _from_files("coco", Path(folder), files, size, limit)


def flickr30k(folder: str, split: str, size: int = 256, limit: int | None = None) -> EvaluationSet:
    """
    Takes Karpathy's test split of Flickr30k: 1,000 images with five captions each.

    Arguments and errors are those of `coco`.
    """
    return _karpathy("flickr30k", folder, split, size, limit, 1_000, FLICKR)


def _karpathy(
    name: str, folder: str, split: str, size: int, limit: int | None, expected: int, source: str
) -> EvaluationSet:
    root = existing(folder, name, source)
    listed = json.loads(existing(split, f"{name}: split", source).read_text(encoding="utf-8"))["images"]
    captions = {
        "/".join(part for part in (entry.get("filepath"), entry["filename"]) if part): tuple(
            sentence["raw"].strip() for sentence in entry["sentences"]
        )
        for entry in listed
        if entry["split"] == "test"
    }
    files = take(sorted(captions), expected, limit, name)
    missing = [file for file in files if not (root / file).is_file()]
    if missing:
        raise FileNotFoundError(f"{name}: {len(missing)} images of the split are missing, such as {root / missing[0]}")
    return _from_files(
        name, root, files, size, limit, lambda file: {"captions": captions[file]}, split="Karpathy's test split"
    )


def hub_images(
    repo: str,
    split: str = "validation",
    image: str = "image",
    caption: str | None = None,
    label: str | None = None,
    size: int = 256,
    limit: int | None = None,
    revision: str | None = None,
) -> EvaluationSet:
    """
    Takes images of a Hugging Face data set, from the Hub or from a local folder of parquet files.

    They are read as image files are: upright, colors in sRGB, on white where they are transparent.

    Args:
        repo: a name on the Hub, or a folder.
        image, caption, label: names of columns; a label must be a `ClassLabel`.
        revision: of the data set on the Hub.

    Raises:
        ImportError: `datasets` is missing.
        ValueError: no such column.
    """
    try:
        import datasets
    except ImportError as error:
        raise ImportError('hub-images needs datasets: pip install "atoken[evaluation]"') from error
    if Path(repo).is_dir():
        files = [str(Path(repo) / name) for name in find_files(repo, (".parquet",), "hub-images")]
        rows = datasets.load_dataset("parquet", data_files={split: files}, split=split)
    else:
        rows = datasets.load_dataset(repo, split=split, revision=revision)
    for column in filter(None, (image, caption, label)):
        if column not in rows.column_names:
            raise ValueError(f"hub-images: columns must be among {', '.join(rows.column_names)}, got {column!r}")
    # Of the data set as it was loaded, however its images are read here.
    fingerprint = rows._fingerprint
    if hasattr(rows.features[image], "decode"):
        # Pillow, with which `datasets` decodes, keeps 8 of 16 bits and tells nothing of it.
        rows = rows.cast_column(image, type(rows.features[image])(decode=False))
    indices = take([str(index) for index in range(len(rows))], None, limit, "hub-images")
    names = rows.features[label].names if label else ()
    texts, labels = (rows[column] if column else None for column in (caption, label))
    samples = [
        Sample(
            index,
            partial(_hub_square, rows, int(index), image, size),
            _as_captions(texts[int(index)]) if caption else (),
            labels[int(index)] if label else None,
        )
        for index in indices
    ]
    facts = {"repo": repo, "split": split, "revision": revision}
    protocol = _protocol(size, len(samples), limit, **facts)
    return EvaluationSet(
        Path(repo).name,
        "image",
        samples,
        protocol,
        fingerprint,
        tuple(names),
        IMAGENET_TEMPLATES if names else (),
    )


def _as_captions(value: str | list[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _hub_square(rows: Any, index: int, column: str, size: int) -> torch.Tensor:
    cell, name = rows[index][column], f"hub-images: row {index}"
    medium, _ = medium_of_cell(cell)
    if medium is None:
        raise ValueError(f"{name}: {column} must be an image, its bytes or its path, got {type(cell).__name__}")
    return square(read_image(medium, name), size)
