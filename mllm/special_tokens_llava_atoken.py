"""The tokens that stand for media and turns in a prompt: Qwen2.5's own, given to text tokenizers that lack them."""

from typing import Any

from transformers.utils import logging

logger = logging.get_logger(__name__)

IMAGE_TOKEN, VIDEO_TOKEN = "<|image_pad|>", "<|video_pad|>"
VISION_START, VISION_END = "<|vision_start|>", "<|vision_end|>"
TURN_START, TURN_END = "<|im_start|>", "<|im_end|>"
SPECIAL_TOKENS = (IMAGE_TOKEN, VIDEO_TOKEN, VISION_START, VISION_END, TURN_START, TURN_END)


def add_media_tokens(tokenizer: Any) -> list[str]:
    """
    Adds those of the special tokens that a text tokenizer lacks, in place, with a message.

    Returns:
        The tokens that were added. The language model's embeddings have to have a row for each.
    """
    known = tokenizer.get_vocab()
    missing = [token for token in SPECIAL_TOKENS if token not in known]
    if missing:
        tokenizer.add_tokens(missing, special_tokens=True)
        logger.warning(f"The text tokenizer had no {', '.join(missing)}; they were added.")
    return missing


__all__ = ["IMAGE_TOKEN", "SPECIAL_TOKENS", "TURN_END", "VIDEO_TOKEN", "add_media_tokens"]
