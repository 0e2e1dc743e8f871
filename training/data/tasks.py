"""The data of a run: a YAML file that lists the sources of every task, opened as endless batches."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from atoken.processing.text_processing_atoken import tokenize_text

from .batches import Batches, Mixture
from .samples import Limits
from .sources import open_source

_KINDS = {"image": "image", "video": "video", "3d": "object"}


def read_data(path: Path) -> dict[str, list[dict[str, Any]]]:
    """
    Task -> entries of sources.

    Raises:
        ValueError: the file is no such mapping.
    """
    values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    if not isinstance(values, dict) or not all(
        isinstance(entries, list) and entries and all(isinstance(entry, dict) for entry in entries)
        for entries in values.values()
    ):
        raise ValueError(f"{path}: expected tasks, each with a list of sources")
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
    Every task's batches for this process.

    Args:
        tasks: those of the stage.
        data: see `read_data`.
        batch_sizes: of all processes together.
        tokenizer, text_length: of the text tower.

    Raises:
        ValueError: a task has no sources, a batch cannot be shared evenly, or a source does not fit.
        FileNotFoundError: a source's files are missing.
    """

    def tokenize(texts: Sequence[str]) -> torch.Tensor:
        return tokenize_text(tokenizer, list(texts), max_length=text_length)

    opened = {}
    for index, task in enumerate(tasks):
        if task not in data:
            raise ValueError(f"data: there are no sources of {task}; there are some of {', '.join(data)}")
        if batch_sizes[task] % processes:
            raise ValueError(f"batch_sizes: {batch_sizes[task]} of {task} cannot be shared by {processes} processes")
        kind = _KINDS[task.partition("_")[0]]
        seeds = [seed * 1000 + index * 100 + place for place in range(len(data[task]))]
        sources = [open_source(e, kind, s, rank, processes) for e, s in zip(data[task], seeds, strict=True)]
        mixture = Mixture(sources, seed * 1000 + index, rank, processes)
        share = batch_sizes[task] // processes
        opened[task] = Batches(task, mixture, limits, limits.max_tokens, share, tokenize, threads)
    return opened
