"""The data of a run: a YAML file that lists the sources of every task, opened as endless batches."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from atoken.processing.text_processing_atoken import tokenize_text
from atoken.tokenizing.sources import open_source

from .batches import Batches, Mixture
from .drawn_sources import OPENERS
from .samples import Limits

_KINDS = {"image": "image", "video": "video", "3d": "object"}


def read_data(path: Path) -> dict[str, list[dict[str, Any]]]:
    """
    Reads the entries of sources of every task.

    Raises:
        ValueError: the file is not such a mapping.
    """
    values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    if not isinstance(values, dict) or not all(
        isinstance(entries, list) and entries and all(isinstance(entry, dict) for entry in entries)
        for entries in values.values()
    ):
        raise ValueError(f"data must be tasks, each with a list of sources, got {path}, which is not that")
    return values


def open_tasks(
    tasks: Sequence[str],
    data: dict[str, list[dict[str, Any]]],
    batch_sizes: dict[str, int],
    limits: Limits,
    tokenizer: Any,
    text_length: int,
    seed: int,
    rank: int,
    processes: int,
    threads: int,
) -> dict[str, Batches]:
    """
    Opens every task's batches for this process.

    Args:
        tasks: those of the stage.
        data: see `read_data`.
        batch_sizes: samples of a batch, of all processes together.
        limits: what samples may be.
        tokenizer, text_length: of the text tower; None and 0 where no task has texts.
        seed: of the order, and of all that is random about samples.
        rank, processes: which of so many processes this is.
        threads: that read samples, for each task.

    Raises:
        ValueError: a task has no sources, a batch cannot be shared evenly, or a source does not fit.
        FileNotFoundError: a source's files are missing.
    """

    def tokenize(texts: Sequence[str]) -> torch.Tensor:
        return tokenize_text(tokenizer, list(texts), max_length=text_length)

    opened = {}
    for index, task in enumerate(tasks):
        if task not in data:
            raise ValueError(f"data must have sources of {task}, got some of {', '.join(data)}")
        if batch_sizes[task] % processes:
            raise ValueError(
                f"batch_sizes: {task} must be a multiple of the {processes} processes, got {batch_sizes[task]}"
            )
        kind = _KINDS[task.partition("_")[0]]
        seeds = [seed * 1000 + index * 100 + place for place in range(len(data[task]))]
        sources = [open_source(e, kind, s, rank, processes, OPENERS) for e, s in zip(data[task], seeds, strict=True)]
        mixture = Mixture(sources, seed * 1000 + index, rank, processes)
        share = batch_sizes[task] // processes
        opened[task] = Batches(task, mixture, limits, limits.max_tokens, share, tokenize, threads)
    return opened
