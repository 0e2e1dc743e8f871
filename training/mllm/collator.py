"""Rows of conversations to batches: media read, answers alone to be learned."""

import json
from collections.abc import Sequence
from typing import Any

import torch
from datasets import Dataset

from atoken.mllm import AtokenLlavaProcessor

from .feature_cache import FeatureCache
from .sources import media_of

IGNORED = -100  # label of a token that is not to be predicted


class ConversationCollator:
    """
    Makes batches of conversations, padded on the right.

    Args:
        processor: of the model.
        cache: where pooled features of all media are; with it, batches have these in place of pixels.
    """

    def __init__(self, processor: AtokenLlavaProcessor, cache: FeatureCache | None = None):
        self.processor, self.cache = processor, cache

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """
        Makes a batch.

        Returns:
            What the model's forward takes. `labels` (B, L) are the ids of the assistant's answers and of the token that
            ends each, and -100 elsewhere.
        """
        conversations = [json.loads(row["messages"]) for row in rows]
        batch = self.processor.apply_chat_template(
            conversations,
            tokenize=True,
            return_dict=True,
            return_assistant_tokens_mask=True,
            return_tensors="pt",
            processor_kwargs={"padding": True, "padding_side": "right"},
        )
        batch = dict(batch)
        answers = torch.as_tensor(batch.pop("assistant_masks")).bool() & batch["attention_mask"].bool()
        batch["labels"] = batch["input_ids"].masked_fill(~answers, IGNORED)
        if self.cache is not None:
            for name in ("pixel_values", "image_grid_thw", "pixel_values_videos", "video_grid_thw"):
                batch.pop(name, None)
            paths = {
                kind: [path for each in conversations for path in media_of(each, kind)] for kind in ("image", "video")
            }
            batch["pooled_images"] = [self.cache.image(path) for path in paths["image"]]
            batch["pooled_videos"] = [self.cache.video(path) for path in paths["video"]]
        return batch


def within_context(dataset: Dataset, processor: AtokenLlavaProcessor, context: int) -> tuple[Dataset, int]:
    """
    Leaves out the conversations that have more tokens than a context: placeholders are never cut.

    Args:
        dataset: as `read_sources` gives it.
        processor: of the model.
        context: tokens, at most.

    Returns:
        The others with `length`, their tokens, and how many were left out.

    Raises:
        ValueError: if none is left.
    """

    def measured(row: dict[str, Any]) -> dict[str, int]:
        return {"length": conversation_length(json.loads(row["messages"]), processor)}

    measured_rows = dataset.map(measured, load_from_cache_file=False)
    kept = measured_rows.filter(lambda length: length <= context, input_columns="length", load_from_cache_file=False)
    if not len(kept):
        raise ValueError(f"context must fit at least one conversation, got {context} tokens for all {len(dataset)}")
    return kept, len(dataset) - len(kept)


def conversation_length(messages: list[dict[str, Any]], processor: AtokenLlavaProcessor) -> int:
    """Counts the tokens of a conversation, those of its media included."""
    counts = processor.token_counts
    length = len(processor.tokenizer(processor.apply_chat_template(messages)).input_ids)
    for path in media_of(messages, "image"):
        _, rows, columns = processor.image_processor(path, return_tensors="pt").image_grid_thw[0].tolist()
        length += counts.image(rows, columns) - 1
    for path in media_of(messages, "video"):
        grid = processor.video_processor([path], return_tensors="pt").video_grid_thw[0].tolist()
        length += counts.video(*grid) - 1
    return length
