"""Photos with one word each, to be found among a few words: what a small model knows of the real world."""

import json
from functools import partial
from pathlib import Path
from typing import Any

from ..interface import EvaluationSet, Sample
from .file_lists import checksum, existing, take
from .image_sets import load_square

TEMPLATES = ("a photo of a {}", "a photo of the {}", "{}")


def photo_words(folder: str, labels: str, size: int = 256, limit: int | None = None) -> EvaluationSet:
    """
    Takes the photos of a list, which says of each which word it shows; all its words are the classes.

    Short sides are resized to `size` (bicubic, antialias), and the middle is taken.

    Args:
        folder: what the list's paths begin in.
        labels: JSON file, {word: [path of a photo, ...]}.
        size: pixels of each side.
        limit: photos at most, in the order of their paths.

    Raises:
        FileNotFoundError: no such folder or list, or photos of the list are missing.
        ValueError: the list is something else, or has a photo twice.
    """
    root = existing(folder, "photo-words")
    listed: Any = json.loads(existing(labels, "photo-words: labels").read_text(encoding="utf-8"))
    if not isinstance(listed, dict) or not all(isinstance(paths, list) for paths in listed.values()):
        raise ValueError(f"photo-words: labels must be words with lists of photos, got {labels}, which is not that")
    words = tuple(listed)
    label = {path: words.index(word) for word, paths in listed.items() for path in paths}
    if len(label) < sum(map(len, listed.values())):
        raise ValueError(f"photo-words: labels must have every photo once, got {labels}, which has some twice")
    files = take(sorted(label), None, limit, "photo-words")
    missing = [file for file in files if not (root / file).is_file()]
    if missing:
        raise FileNotFoundError(f"photo-words: {len(missing)} photos are missing, such as {root / missing[0]}")
    protocol = {
        "resize": f"short side to {size}, bicubic, antialias; smaller images are enlarged",
        "crop": f"centre {size}x{size}",
        "range": "8-bit RGB",
        "count": len(files),
        # What an answer that is always the same gets at most.
        "largest_share": max(sum(label[file] == index for file in files) for index in range(len(words))) / len(files),
        **({"limit": limit} if limit is not None else {}),
    }
    samples = [Sample(file, partial(load_square, Path(root) / file, size), label=label[file]) for file in files]
    return EvaluationSet("photo-words", "image", samples, protocol, checksum(root, files), words, TEMPLATES)
