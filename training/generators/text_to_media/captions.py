"""Conditions of captions that frozen text encoders have computed once, for all steps and epochs."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from atoken.generation.text_conditions_atoken import TextCondition
from atoken.processing.atomic_files_atoken import atomic_file

EMPTY = ""  # the text that stands for no text
_BATCH = 256  # captions that are encoded together


def text_key(text: str) -> int:
    """Gives the key of a text: 63 bits of a hash."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest(), "little") >> 1


def write_captions(
    path: Path, captions: Iterable[str], encode: Callable[[Sequence[str]], TextCondition], encoder: str
) -> None:
    """
    Encodes captions and the empty text, each once, into a file; states in bfloat16, and of each text only its own.

    Args:
        path: of a safetensors file.
        captions: any number, also several times the same.
        encode: texts -> their condition.
        encoder: fingerprint of what encodes.
    """
    texts = sorted({*captions, EMPTY}, key=text_key)
    states, pooled = [], []
    for start in range(0, len(texts), _BATCH):
        found = encode(texts[start : start + _BATCH]).to("cpu", torch.bfloat16)
        states += [embeds[mask] for embeds, mask in zip(found.embeds, found.mask, strict=True)]
        pooled.append(found.pooled)
    starts = torch.tensor([0, *(len(each) for each in states)]).cumsum(0)
    tensors = {
        "keys": torch.tensor([text_key(text) for text in texts]),
        "starts": starts,
        "states": torch.cat(states),
        "pooled": torch.cat(pooled),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as temporary:
        save_file(tensors, temporary, {"encoder": encoder})


class CaptionConditions:
    """
    Finds conditions of captions in a file that `write_captions` has written; they stay on the disk until asked for.

    Args:
        path: of the file.
        encoder: fingerprint of what has to have encoded them.

    Raises:
        FileNotFoundError: there is no file.
        ValueError: it is no such file, or was written with another encoder.
    """

    def __init__(self, path: Path, encoder: str):
        if not path.is_file():
            raise FileNotFoundError(f"path: there is no file {path}")
        try:
            with safe_open(path, "pt") as file:
                found = (file.metadata() or {}).get("encoder")
                keys, self._starts, self._states, self._pooled = (
                    file.get_tensor(name) for name in ("keys", "starts", "states", "pooled")
                )
        except Exception as error:
            raise ValueError(f"path must be a file of encoded captions, got {path}: {error}") from error
        if found != encoder:
            raise ValueError(
                f"path must have captions of the text encoder that is trained with, {encoder[:12]}..., got {path} of "
                f"{str(found)[:12]}...; remove it to write it again"
            )
        self._keys = keys.numpy()

    @property
    def widths(self) -> tuple[int, int]:
        """Gives the channels of states and of vectors."""
        return self._states.shape[1], self._pooled.shape[1]

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
                f"captions must all be encoded, got {len(missing)} that are not, the first is {missing[0]!r}; remove "
                "the file of encoded captions to write it again"
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
        starts = self._starts
        states = [self._states[int(starts[place]) : int(starts[place + 1])].float() for place in places]
        return TextCondition.of_texts(states, [self._pooled[place].float() for place in places])

    def _places(self, captions: Sequence[str]) -> list[int | None]:
        wanted = np.array([text_key(text) for text in captions], dtype=np.int64)
        places = np.minimum(np.searchsorted(self._keys, wanted), len(self._keys) - 1)
        found = self._keys[places] == wanted
        return [int(place) if there else None for place, there in zip(places, found, strict=True)]
