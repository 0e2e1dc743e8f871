"""Rows of conversations to batches: media read or their stored features, answers alone to be learned."""

import json
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from datasets import Dataset
from torch.nn.utils.rnn import pad_sequence
from transformers.utils.chat_template_utils import render_jinja_template

from atoken.mllm import AtokenLlavaProcessor

from .sources import media_of

IGNORED = -100  # label of a token that is not to be predicted


class StoredFeatures(Protocol):
    """Holds the pooled features of media, such as a `FeatureCache`."""

    def image(self, path: str) -> torch.Tensor:
        """Gives (h, w, d) of an image."""
        ...

    def video(self, path: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Gives (S, h, w, d) and (T, rows, columns, d) of a video."""
        ...


class ConversationCollator:
    """
    Makes batches of conversations, padded on the right.

    Args:
        processor: of the model.
        cache: where pooled features of all media are; with it, batches have these in place of pixels, and no medium is
            read.

    Raises:
        ValueError: with a cache, if the processor states times of videos, which are read from the videos.
    """

    def __init__(self, processor: AtokenLlavaProcessor, cache: StoredFeatures | None = None):
        if cache is not None and processor.add_time_instruction:
            raise ValueError(
                "processor must have add_time_instruction=False with a cache, got True. Leave the cache out, as times "
                "are read from the videos."
            )
        self.processor, self.cache = processor, cache

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """
        Makes a batch.

        Returns:
            What the model's forward takes. `labels` (B, L) are the ids of the assistant's answers and of the token that
            ends each, and -100 elsewhere.
        """
        conversations = [json.loads(row["messages"]) for row in rows]
        if self.cache is not None:
            return self._with_stored_features(conversations, self.cache)
        batch = dict(
            self.processor.apply_chat_template(
                conversations,
                tokenize=True,
                return_dict=True,
                return_assistant_tokens_mask=True,
                return_tensors="pt",
                processor_kwargs={"padding": True, "padding_side": "right"},
            )
        )
        answers = torch.as_tensor(batch.pop("assistant_masks")).bool() & batch["attention_mask"].bool()
        batch["labels"] = batch["input_ids"].masked_fill(~answers, IGNORED)
        return batch

    def _with_stored_features(self, conversations: list[list[dict[str, Any]]], cache: StoredFeatures) -> dict[str, Any]:
        images = [cache.image(path) for each in conversations for path in media_of(each, "image")]
        videos = [cache.video(path) for each in conversations for path in media_of(each, "video")]
        rows = [unexpanded(each, self.processor) for each in conversations]
        lengths = [len(ids) for ids, _ in rows]
        ids = torch.tensor([token for row, _ in rows for token in row])
        answers = torch.tensor([flag for _, row in rows for flag in row])
        # Each placeholder becomes as many as the medium in its place has tokens.
        repeats = torch.ones_like(ids)
        for token, counts in (
            (self.processor.image_token_id, [image_length(each) for each in images]),
            (self.processor.video_token_id, [video_length(*each) for each in videos]),
        ):
            repeats[ids == token] = torch.tensor(counts, dtype=repeats.dtype)
        lengths = [int(part.sum()) for part in repeats.split(lengths)]
        ids, answers = ids.repeat_interleave(repeats), answers.repeat_interleave(repeats)
        labels = ids.masked_fill(~answers, IGNORED)
        return {
            "input_ids": pad_sequence(ids.split(lengths), True, self.processor.tokenizer.pad_token_id),
            "attention_mask": pad_sequence(torch.ones_like(ids).split(lengths), True),
            "labels": pad_sequence(labels.split(lengths), True, IGNORED),
            "pooled_images": images,
            "pooled_videos": videos,
        }


def unexpanded(messages: list[dict[str, Any]], processor: AtokenLlavaProcessor) -> tuple[list[int], list[bool]]:
    """
    Tokenizes a conversation without reading its media.

    Returns:
        Ids with one placeholder for each medium, and which of them are of the assistant's answers.
    """
    texts, spans = render_jinja_template(
        conversations=[messages],
        chat_template=processor.chat_template,
        return_assistant_tokens_mask=True,
        **processor.tokenizer.special_tokens_map,
    )
    encoded = processor.tokenizer(texts[0], return_offsets_mapping=True)
    starts, ends = np.asarray(encoded.offset_mapping).reshape(-1, 2).T
    answers = np.zeros(len(starts), bool)
    for first, last in spans[0]:
        answers |= (starts < last) & (ends > first)
    return encoded.input_ids, answers.tolist()


def image_length(pooled: torch.Tensor) -> int:
    """Counts the tokens of an image's pooled features (h, w, d)."""
    return pooled.shape[0] * (pooled.shape[1] + 1)


def video_length(slow: torch.Tensor, fast: torch.Tensor) -> int:
    """Counts the tokens of a video's pooled features."""
    return slow.shape[:-1].numel() + 1 + fast.shape[:-1].numel()


def within_context(
    dataset: Dataset, processor: AtokenLlavaProcessor, context: int, cache: StoredFeatures | None = None
) -> tuple[Dataset, int]:
    """
    Leaves out the conversations that have more tokens than a context: placeholders are never cut.

    Args:
        dataset: as `read_sources` gives it.
        processor: of the model.
        context: tokens, at most.
        cache: of all media, which are read without it.

    Returns:
        The others with `length`, their tokens, and how many were left out.

    Raises:
        ValueError: if none is left.
    """

    def measured(row: dict[str, Any]) -> dict[str, int]:
        return {"length": conversation_length(json.loads(row["messages"]), processor, cache)}

    measured_rows = dataset.map(measured, load_from_cache_file=False)
    kept = measured_rows.filter(lambda length: length <= context, input_columns="length", load_from_cache_file=False)
    if not len(kept):
        raise ValueError(f"context must fit at least one conversation, got {context} tokens for all {len(dataset)}")
    return kept, len(dataset) - len(kept)


def conversation_length(
    messages: list[dict[str, Any]], processor: AtokenLlavaProcessor, cache: StoredFeatures | None = None
) -> int:
    """Counts the tokens of a conversation, those of its media included."""
    counts = processor.token_counts
    length = len(unexpanded(messages, processor)[0])
    for path in media_of(messages, "image"):
        if cache is None:
            _, rows, columns = processor.image_processor(path, return_tensors="pt").image_grid_thw[0].tolist()
            length += counts.image(rows, columns) - 1
        else:
            length += image_length(cache.image(path)) - 1
    for path in media_of(messages, "video"):
        if cache is None:
            grid = processor.video_processor([path], return_tensors="pt").video_grid_thw[0].tolist()
            length += counts.video(*grid) - 1
        else:
            length += video_length(*cache.video(path)) - 1
    return length
