"""Embeddings of captions that a frozen text tower has computed once, for all steps and epochs.

A caption takes as many bytes as an embedding in bfloat16 has, and 8 for its key. `embed_captions` writes them.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open

from atoken.processing.text_processing_atoken import canonicalize_text

TOWER = "tower.json"


def caption_key(caption: str) -> int:
    """Gives the key of a caption: 63 bits of a hash of its canonical form."""
    code = hashlib.blake2b(canonicalize_text(caption).encode("utf-8"), digest_size=8).digest()
    return int.from_bytes(code, "little") >> 1


def fingerprint(tower: torch.nn.Module) -> str:
    """Tells towers apart: a hash of all weights by name."""
    code = hashlib.sha256()
    for name, value in sorted(tower.state_dict().items()):
        code.update(name.encode())
        code.update(value.detach().cpu().float().numpy().tobytes())
    return code.hexdigest()


def check_tower(folder: Path, tower: str) -> None:
    """
    Checks that a folder has embeddings of a text tower.

    Raises:
        ValueError: it has none, or those of another tower.
    """
    try:
        found = json.loads((folder / TOWER).read_text(encoding="utf-8"))["fingerprint"]
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"folder must be one that embed_captions has written, got {folder}: {error}") from error
    if found != tower:
        raise ValueError(
            f"folder must have embeddings of the text tower that is trained with, got {folder} of another one; write "
            "it with this model"
        )


class TextCache:
    """
    Finds embeddings of captions in a folder.

    Args:
        folder: written by `embed_captions`.
        tower: fingerprint of the text tower that is trained with.

    Raises:
        ValueError: the folder is no cache, or one of another tower.
    """

    def __init__(self, folder: Path, tower: str):
        check_tower(folder, tower)
        self._parts = []
        for path in sorted(folder.glob("part-*.safetensors")):
            with safe_open(path, "pt") as file:
                # Both stay on the disk until they are looked at.
                self._parts.append((file.get_tensor("keys").numpy(), file.get_tensor("embeds")))
        if not self._parts:
            raise ValueError(f"folder must have embeddings of captions, got {folder} without; run embed_captions again")

    def find(self, captions: Sequence[str]) -> torch.Tensor | None:
        """Gives (B, d) bfloat16, or None if one of the captions is not there."""
        wanted = np.array([caption_key(caption) for caption in captions], dtype=np.int64)
        rows: list[torch.Tensor | None] = [None] * len(captions)
        for keys, embeds in self._parts:
            places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
            for which in np.flatnonzero(keys[places] == wanted):
                rows[which] = embeds[int(places[which])]
        return None if any(row is None for row in rows) else torch.stack(rows)
