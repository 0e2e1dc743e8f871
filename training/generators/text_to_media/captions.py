"""Conditions of captions that frozen text encoders have computed once, for all steps and epochs.

A folder has them in parts of some thousand captions, and `encoder.json`, which says what has encoded them.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from atoken.generation.text_conditions_atoken import TextCondition
from atoken.processing.atomic_files_atoken import atomic_file
from atoken.tokenizing.corpus.reading import AtokenTokens

EMPTY = ""  # the text that stands for no text
ENCODER = "encoder.json"
PART = 2048  # captions of a part, whose states are in memory at once
_BATCH = 256  # captions that are encoded together


def text_key(text: str) -> int:
    """Gives the key of a text: 63 bits of a hash."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest(), "little") >> 1


def captions_of(corpus: AtokenTokens) -> list[str]:
    """
    Gives the captions of all rows of a corpus.

    Raises:
        ValueError: it has none.
    """
    if "caption" not in corpus.options.keep:
        kept = ", ".join(corpus.options.keep) or "nothing kept"
        raise ValueError(f"corpus must have a kept caption, got {kept}; tokenize with --keep caption")
    return [str(text) for text in corpus.column("caption")]


def write_captions(
    folder: Path,
    captions: Iterable[str],
    encode: Callable[[Sequence[str]], TextCondition],
    encoder: str,
    share: int = 0,
    shares: int = 1,
) -> Iterator[tuple[int, int]]:
    """
    Encodes the captions, and the empty text, that a folder has not yet, each once; states in bfloat16, and of each text
    only its own.

    A part is written when all of its captions are encoded, so that what is stopped goes on with the next one.

    Args:
        folder: is made where there is none.
        captions: any number, also several times the same.
        encode: texts -> their condition.
        encoder: fingerprint of what encodes.
        share, shares: which of so many shares is encoded, counted from 0; all of them may be at work at a time.

    Returns:
        An iterator that does the work: for each part that is written, how many captions of the share are there, and how
        many it has.

    Raises:
        ValueError: the folder has captions of another encoder, or is none.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"folder must be a folder of encoded captions, got the file {folder}; give another name")
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / ENCODER).exists():
        with atomic_file(folder / ENCODER) as temporary:
            temporary.write_text(json.dumps({"fingerprint": encoder}) + "\n", encoding="utf-8")
    check_encoder(folder, encoder)
    waiting = {text_key(text): text for text in {*captions, EMPTY}}
    waiting = {key: text for key, text in waiting.items() if key % shares == share}
    total = len(waiting)
    for part in _parts(folder):
        for key in part.keys.tolist():
            waiting.pop(key, None)
    keys = sorted(waiting)
    for start in range(0, len(keys), PART):
        chosen = keys[start : start + PART]
        _write_part(folder, chosen, [waiting[key] for key in chosen], encode)
        yield total - len(keys) + start + len(chosen), total


def _write_part(
    folder: Path, keys: list[int], texts: list[str], encode: Callable[[Sequence[str]], TextCondition]
) -> None:
    states, pooled = [], []
    for start in range(0, len(texts), _BATCH):
        found = encode(texts[start : start + _BATCH]).to("cpu", torch.bfloat16)
        states += [embeds[mask] for embeds, mask in zip(found.embeds, found.mask, strict=True)]
        pooled.append(found.pooled)
    tensors = {
        "keys": torch.tensor(keys),
        "starts": torch.tensor([0, *(len(each) for each in states)]).cumsum(0),
        "states": torch.cat(states),
        "pooled": torch.cat(pooled),
    }
    # The name says which captions it has, so that no other part is replaced.
    name = hashlib.blake2b(tensors["keys"].numpy().tobytes(), digest_size=8).hexdigest()
    with atomic_file(folder / f"part-{name}.safetensors") as temporary:
        save_file(tensors, temporary)


def check_encoder(folder: Path, encoder: str) -> None:
    """
    Checks that a folder has captions that an encoder has encoded.

    Raises:
        FileNotFoundError: there is no folder.
        ValueError: it has none, or those of another encoder.
    """
    if not folder.exists():
        raise FileNotFoundError(f"folder must have encoded captions, but there is no {folder}; run encode_captions")
    try:
        found = json.loads((folder / ENCODER).read_text(encoding="utf-8"))["fingerprint"]
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"folder must be one that encode_captions has written, got {folder}: {error}") from error
    if found != encoder:
        raise ValueError(
            f"folder must have captions of the text encoder that is trained with, {encoder[:12]}..., got {folder} of "
            f"{str(found)[:12]}...; encode them with this one into another folder"
        )


@dataclass(frozen=True)
class _Part:
    """Holds captions of a file: `keys` (n,) ascending, `starts` (n + 1,) of their `states` (L, d), `pooled` (n, p)."""

    keys: torch.Tensor
    starts: torch.Tensor
    states: torch.Tensor
    pooled: torch.Tensor


def _parts(folder: Path) -> Iterator[_Part]:
    """Opens the parts of a folder; what they have stays on the disk until it is looked at."""
    for path in sorted(folder.glob("part-*.safetensors")):
        try:
            with safe_open(path, "pt") as file:
                part = _Part(*(file.get_tensor(name) for name in ("keys", "starts", "states", "pooled")))
        except Exception as error:  # safetensors has no error of its own for all that can be wrong
            raise ValueError(
                f"folder must have parts that are whole, got {path}: {error}; remove it and run encode_captions again"
            ) from error
        yield part


class CaptionConditions:
    """
    Finds conditions of captions in a folder that `write_captions` has written; they stay on the disk until asked for.

    Args:
        folder: with at least one part; `check_encoder` says whether it is of the right encoder.

    Raises:
        ValueError: it has no captions, or a part is damaged.
    """

    def __init__(self, folder: Path):
        self._parts = list(_parts(folder))
        if not self._parts:
            raise ValueError(f"folder must have encoded captions, got {folder} without; run encode_captions")
        keys = np.concatenate([part.keys.numpy() for part in self._parts])
        order = np.argsort(keys, kind="stable")
        self._keys = keys[order]
        sizes = [len(part.keys) for part in self._parts]
        # Of each key: its part, and its row there.
        self._part = np.repeat(np.arange(len(sizes)), sizes)[order]
        self._row = np.concatenate([np.arange(size) for size in sizes])[order]

    @property
    def widths(self) -> tuple[int, int]:
        """Gives the channels of states and of vectors."""
        return self._parts[0].states.shape[1], self._parts[0].pooled.shape[1]

    def check(self, captions: Iterable[str]) -> None:
        """
        Checks that captions are there.

        Raises:
            ValueError: naming the first that is not.
        """
        distinct = list(dict.fromkeys(captions))
        missing = [text for text, place in zip(distinct, self._places(distinct), strict=True) if place is None]
        if missing:
            raise ValueError(
                f"captions must all be encoded, got {len(missing)} that are not, the first is {missing[0]!r}; run "
                "encode_captions, all of its shards, with the same corpora"
            )

    def find(self, captions: Sequence[str]) -> TextCondition:
        """
        Gives the conditions of captions, fp32, padded on the right to the longest.

        Raises:
            ValueError: one was not encoded.
        """
        places = self._places(captions)
        if None in places:
            self.check(captions)
        found = [(self._parts[self._part[place]], int(self._row[place])) for place in places]
        states = [part.states[int(part.starts[row]) : int(part.starts[row + 1])].float() for part, row in found]
        return TextCondition.of_texts(states, [part.pooled[row].float() for part, row in found])

    def _places(self, captions: Sequence[str]) -> list[int | None]:
        wanted = np.array([text_key(text) for text in captions], dtype=np.int64)
        places = np.minimum(np.searchsorted(self._keys, wanted), len(self._keys) - 1)
        found = self._keys[places] == wanted
        return [int(place) if there else None for place, there in zip(places, found, strict=True)]
