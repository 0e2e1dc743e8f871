"""Frozen text encoders of a training: the tokenizer's own text tower, or others of transformers."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from atoken.generation.text_conditions_atoken import TextCondition, encode_texts
from atoken.tokenizing.loading import LoadedModel

from ...data.text_cache import fingerprint


@dataclass(frozen=True)
class TextEncoders:
    """
    Holds what encodes texts.

    Attributes:
        encoder, tokenizer: give the states of tokens.
        encoder_2, tokenizer_2: give the vector of a whole text, or None where the first does.
    """

    encoder: Any
    tokenizer: Any
    encoder_2: Any = None
    tokenizer_2: Any = None

    @property
    def towers(self) -> list[Any]:
        """Lists the encoders that there are."""
        return [each for each in (self.encoder, self.encoder_2) if each is not None]

    def to(self, device: torch.device | str) -> "TextEncoders":
        """Moves the encoders to a device, where they then encode."""
        for tower in self.towers:
            tower.to(device)
        return self

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> TextCondition:
        """Encodes texts; the ends of those that are too long are left out."""
        return encode_texts(texts, self.tokenizer, self.encoder, self.tokenizer_2, self.encoder_2, truncate=True)

    def fingerprint(self) -> str:
        """Tells encoders apart: a hash of all weights."""
        return hashlib.sha256("".join(map(fingerprint, self.towers)).encode()).hexdigest()


def open_text_encoders(loaded: LoadedModel | None, name: str | None = None, name_2: str | None = None) -> TextEncoders:
    """
    Loads text encoders.

    Args:
        loaded: the tokenizer of media, whose text tower is taken where `name` is None; needed for that alone, and None
            where the tokenizer is not AToken.
        name: folder or Hub name of an encoder of transformers, such as T5's.
        name_2: folder or Hub name of CLIP, for the vector of a whole text.

    Raises:
        ValueError: the tokenizer has no text tower.
    """
    if name is None and loaded is None:
        raise ValueError(
            "text_encoder must be given where the tokenizer is not AToken, which has a text tower, got none"
        )
    if name is None:
        encoder, tokenizer = loaded.model.text_model, loaded.processor.tokenizer
        if encoder is None or tokenizer is None:
            raise ValueError(f"tokenizer must have a text tower, got {loaded.name} without; name a text_encoder")
        first = (encoder.float(), tokenizer)
    else:
        from transformers import AutoModelForTextEncoding, AutoTokenizer

        first = (AutoModelForTextEncoding.from_pretrained(name).eval(), AutoTokenizer.from_pretrained(name))
    if name_2 is None:
        return TextEncoders(*first)
    from transformers import AutoTokenizer, CLIPTextModel

    return TextEncoders(*first, CLIPTextModel.from_pretrained(name_2).eval(), AutoTokenizer.from_pretrained(name_2))
