"""What generators of images and videos see of a text: states of its tokens, and one vector for all of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

LONGEST = 512  # tokens of a text, for encoders that have no length of their own


@dataclass(frozen=True)
class TextCondition:
    """
    Holds what is seen of B texts.

    Attributes:
        embeds: (B, L, d) states, zeros behind each text's end.
        mask: (B, L) bool, True for the tokens of a text, which come first; at least one of each text.
        pooled: (B, p).
    """

    embeds: torch.Tensor
    mask: torch.Tensor
    pooled: torch.Tensor

    def __len__(self) -> int:
        return len(self.mask)

    def to(self, device: Any, dtype: torch.dtype | None = None) -> "TextCondition":
        """Gives a copy on a device, states and vectors in `dtype`."""
        return TextCondition(self.embeds.to(device, dtype), self.mask.to(device), self.pooled.to(device, dtype))

    def repeated(self, count: int) -> "TextCondition":
        """Gives the condition of `count` texts: of one text that many times, without copying; of `count` as it is."""
        if len(self) == count:
            return self
        return TextCondition(*(each.expand(count, *each.shape[1:]) for each in (self.embeds, self.mask, self.pooled)))

    @classmethod
    def of_texts(cls, states: Sequence[torch.Tensor], pooled: Sequence[torch.Tensor]) -> "TextCondition":
        """Joins texts: each (L_i, d) states and (p,), padded on the right to the longest of them."""
        lengths = torch.tensor([len(each) for each in states])
        mask = torch.arange(int(lengths.max())) < lengths[:, None]
        embeds = torch.nn.utils.rnn.pad_sequence(list(states), batch_first=True)
        return cls(embeds, mask.to(embeds.device), torch.stack(list(pooled)))


def encode_texts(
    texts: Sequence[str],
    tokenizer: Any,
    text_encoder: Any,
    tokenizer_2: Any = None,
    text_encoder_2: Any = None,
    truncate: bool = False,
) -> TextCondition:
    """
    Encodes texts, each to its true length.

    Towers of the SigLIP family see texts filled up to the length that they were trained at, as they were trained;
    what they give for the filling is left out. Others see a mask.

    Args:
        texts: at least one. An empty one has one token, so that attention has something to look at.
        tokenizer, text_encoder: of transformers, such as T5's encoder or the text tower of an AtokenModel.
        tokenizer_2, text_encoder_2: give the vector of the whole text instead, such as CLIP's.
        truncate: whether the end of a text that is too long is left out.

    Returns:
        The condition. Without a second encoder, the vector is the first one's `pooler_output`, or where it has none
        the mean of the states.

    Raises:
        ValueError: a text is too long.
    """
    states, mask, pooled = _encoded(texts, tokenizer, text_encoder, truncate)
    if text_encoder_2 is not None:
        # What has a second encoder beside it is the one whose length counts.
        pooled = _encoded(texts, tokenizer_2, text_encoder_2, truncate=True)[2].to(states)
    length = int(mask.sum(1).max())
    mask = mask[:, :length]
    return TextCondition(states[:, :length] * mask[..., None], mask, pooled)


def pooled_width(text_encoder: Any, text_encoder_2: Any = None) -> int:
    """Gives the channels of the vector of a whole text."""
    encoder = text_encoder if text_encoder_2 is None else text_encoder_2
    return getattr(encoder.config, "projection_size", None) or encoder.config.hidden_size


def _encoded(
    texts: Sequence[str], tokenizer: Any, encoder: Any, truncate: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gives states (B, L, d), which of them belong to a text (B, L), and (B, p)."""
    of_siglip = str(encoder.config.model_type).startswith("siglip")
    most = getattr(encoder.config, "max_position_embeddings", None) or min(tokenizer.model_max_length, LONGEST)
    if not truncate:
        lengths = [len(ids) for ids in tokenizer(list(texts))["input_ids"]]
        longest = max(range(len(texts)), key=lengths.__getitem__)
        if lengths[longest] > most:
            raise ValueError(
                f"prompt must have at most {most} tokens, which is what the text encoder takes, got "
                f"{lengths[longest]} in {texts[longest]!r}; shorten it"
            )
    given = tokenizer(
        list(texts),
        padding="max_length" if of_siglip else "longest",
        max_length=most,
        truncation=True,
        padding_side="right",
        return_tensors="pt",
    ).to(encoder.device)
    mask = given["attention_mask"].bool()
    mask[:, 0] = True
    output = encoder(given["input_ids"], attention_mask=None if of_siglip else mask.to(given["input_ids"].dtype))
    states, pooled = output.last_hidden_state, getattr(output, "pooler_output", None)
    if pooled is None:
        pooled = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    return states, mask, pooled
