"""Texts as the text tower was trained on them: on the left, padded to its full length, with padding that it sees."""

import torch
from transformers import PreTrainedConfig, Siglip2TextConfig

_UNSTATED = {name: getattr(Siglip2TextConfig, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}


def pad_texts(
    input_ids: torch.Tensor, attention_mask: torch.Tensor | None, config: PreTrainedConfig
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
    """
    Pads texts to the tower's length, so that their embeddings do not depend on how they were batched.

    The tower reads the last position, where there is padding behind all but the longest texts. Padding in front of a
    text goes behind it, and a mask hides no padding, because in training nothing did.

    Args:
        input_ids: (texts, length) integers.
        attention_mask: (texts, length), or None.
        config: the tower's `max_position_embeddings` and `pad_token_id`.

    Returns:
        (texts, max_position_embeddings) ids, a mask of that shape or None, and (texts, length) where each of the given
        tokens stands.

    Raises:
        ValueError: if texts are longer than the tower's length; or if they are shorter and the configuration does not
            state the padding token.
    """
    length, pad = config.max_position_embeddings, config.pad_token_id
    places = torch.arange(input_ids.shape[1], device=input_ids.device).expand_as(input_ids)
    if attention_mask is not None and attention_mask.shape != input_ids.shape:
        raise ValueError(
            f"attention_mask must have the shape of input_ids, {tuple(input_ids.shape)}, got "
            f"{tuple(attention_mask.shape)}"
        )
    missing = length - input_ids.shape[1]
    if missing < 0:
        raise ValueError(
            f"input_ids must have at most {length} columns, the text tower's length, got {input_ids.shape[1]}: "
            f"truncate with max_length={length}"
        )
    if pad is None or all(getattr(config, name, None) == value for name, value in _UNSTATED.items()):
        # A configuration that names the defaults of the class names no token of this vocabulary.
        if missing:
            raise ValueError(
                f"input_ids must have {length} columns, the text tower's length, got {input_ids.shape[1]}, and "
                f'text_config does not state the padding token. Tokenize with padding="max_length" and '
                f"max_length={length}, or set model.config.text_config.pad_token_id"
            )
        return input_ids, attention_mask, places
    input_ids = torch.nn.functional.pad(input_ids, (0, missing), value=pad)  # (texts, max_position_embeddings)
    is_padding = input_ids == pad
    leading = is_padding.cumprod(1).sum(1, keepdim=True)  # (texts, 1)
    order = (torch.arange(length, device=input_ids.device) + leading) % length
    if attention_mask is not None:
        attention_mask = torch.nn.functional.pad(attention_mask, (0, missing), value=1)
        attention_mask = (attention_mask.bool() | is_padding).to(attention_mask.dtype).gather(1, order)
    return input_ids.gather(1, order), attention_mask, (places - leading) % length


def states_at(states: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Takes the hidden states (texts, max_position_embeddings, d) at (texts, length) places."""
    return states.gather(1, places[..., None].expand(-1, -1, states.shape[-1]))
