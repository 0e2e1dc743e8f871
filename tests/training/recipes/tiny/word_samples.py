"""Words and targets that are small enough for tests: a table of a few tokens, and photos with random targets."""

import json
import random
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers

from atoken.training.recipes.tiny.photo_files import save_photo
from atoken.training.recipes.tiny.words_targets import MAP_CHANNELS, SPACES, draw_boxes
from atoken.training.recipes.tiny.words_vectors import WordVectors

from ...stage_samples import write_photos

NAMES = ("red fox", "tabby cat", "goldfish", "oak tree", "steel bridge", "acorn", "sports car", "palace")
DESCRIPTIONS = (
    "A wild animal with a bushy tail.",
    "A small animal with striped fur.",
    "",
    "A tall plant with green leaves.",
    "A long building over water.",
    "A small brown seed of the oak.",
    "A fast red machine.",
    "A large old building of stone.",
)
DIMENSIONS = 256


def word_vectors(seed: int = 0) -> WordVectors:
    """Makes random vectors of the words above; whole words begin with Llama's sign for a space."""
    words = sorted({word.strip(".").lower() for text in (*NAMES, *DESCRIPTIONS) for word in text.split()})
    vocabulary = {f"\u2581{word}": index for index, word in enumerate(words)} | {"<unk>": len(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    table = torch.randn(len(vocabulary), DIMENSIONS, generator=torch.Generator().manual_seed(seed)) + 0.5
    return WordVectors(table, tokenizer, NAMES, DESCRIPTIONS)


def write_targets(folder: Path, photos: int = 5, crops: int = 3) -> Path:
    """Writes random targets of smooth photos in two packages, as `words_targets` writes them."""
    generator = torch.Generator().manual_seed(0)
    words = word_vectors()
    for index, path in enumerate(sorted(write_photos(folder / "photos", photos).iterdir())):
        with Image.open(path) as image:
            save_photo(image, folder / "photo.jpg")
            width, height = image.size
        boxes = draw_boxes(height, width, crops, random.Random(index))
        target = folder / f"words/{'ab'[index % 2]}/{index}.safetensors"
        target.parent.mkdir(parents=True, exist_ok=True)
        vectors = torch.randn(crops, DIMENSIONS, generator=generator)
        tensors = {
            "photo": torch.frombuffer(bytearray((folder / "photo.jpg").read_bytes()), dtype=torch.uint8),
            "boxes": torch.tensor(boxes, dtype=torch.int32),
            "vectors": torch.nn.functional.normalize(vectors, dim=-1).half(),
            "maps": torch.randn(crops, MAP_CHANNELS, 7, 7, generator=generator).half(),
        }
        save_file(tensors, target)
    tensors = {"names": words(NAMES), "center": torch.full((DIMENSIONS,), 0.02)}
    save_file(tensors, folder / "words" / SPACES, metadata={"names": json.dumps(NAMES)})
    return folder / "words"
