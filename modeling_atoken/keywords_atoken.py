"""Keyword arguments that a forward pass takes without using them, and the refusal of all others."""

from typing import Any

from transformers.utils import TransformersKwargs, logging

logger = logging.get_logger(__name__)

# `model(**batch)` hands over all that a processor gives, and a part may need only some of it.
_OF_A_BATCH = {
    "pixel_values",
    "coords",
    "cu_seqlens",
    "media_sizes",
    "pixel_mask",
    "is_video",
    "input_ids",
    "attention_mask",
}
# Models of transformers pass these through to their parts. The number of items is none of them, as whoever takes it
# promises to divide the loss by it.
_OF_TRANSFORMERS = set(TransformersKwargs.__annotations__) - {"num_items_in_batch"}


def check_keywords(method: str, keywords: dict[str, Any], *unused: str) -> None:
    """
    Refuses keyword arguments that nothing takes, such as misspelled ones.

    Args:
        method: what was called.
        keywords: what its signature does not name. None counts as not given, as wrappers such as PEFT's pass it.
        unused: names that this method takes besides those that every part takes.

    Raises:
        TypeError: naming the unknown ones.
    """
    taken = _OF_A_BATCH | _OF_TRANSFORMERS | set(unused)
    unknown = sorted(name for name, value in keywords.items() if value is not None and name not in taken)
    if unknown:
        raise TypeError(f"{method}() got unexpected keyword arguments: {', '.join(unknown)}")
    if keywords.get("output_attentions"):
        logger.warning_once(f"{method}() returns no attention weights, whatever output_attentions says.")
