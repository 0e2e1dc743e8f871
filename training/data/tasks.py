"""The data of a run: a YAML file that lists the sources of every task, opened as endless batches."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from atoken.evaluation.yaml_files import read_yaml
from atoken.processing.text_processing_atoken import tokenize_text

from .batches import MakeLayout
from .drawn_sources import OPENERS
from .limits import Limits
from .mixing import Mixture
from .sources import open_source
from .step_plan import BatchSize
from .task_batches import Batches
from .text_cache import TextCache

KINDS = {"image": "image", "video": "video", "3d": "object"}


def read_data(path: Path) -> dict[str, list[dict[str, Any]]]:
    """
    Reads the entries of sources of every task.

    Raises:
        ValueError: the file is not such a mapping.
    """
    values = read_yaml(path, "data")
    if not isinstance(values, dict) or not all(
        isinstance(entries, list) and entries and all(isinstance(entry, dict) for entry in entries)
        for entries in values.values()
    ):
        raise ValueError(f"data must be tasks, each with a list of sources, got {path}, which is not that")
    return values


def batch_size(given: int | Sequence[int], step_tokens: int | None) -> BatchSize:
    """
    Reads the size of a batch.

    Args:
        given: a number of samples, or the smallest and the largest, between which `step_tokens` decides.
        step_tokens: that all processes together have in a step of reconstruction.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(given, int):
        return BatchSize(given, given)
    if len(given) != 2 or not all(isinstance(number, int) for number in given):
        raise ValueError(f"batch_sizes must be numbers, or pairs of the smallest and the largest, got {given}")
    return BatchSize(*given, step_tokens)


def open_tasks(
    tasks: Sequence[str],
    data: dict[str, list[dict[str, Any]]],
    batch_sizes: dict[str, int | Sequence[int]],
    limits: Limits,
    tokenizer: Any,
    text_length: int,
    seed: int,
    rank: int,
    processes: int,
    workers: int,
    step_tokens: int | None = None,
    make_layout: MakeLayout | None = None,
    text_cache: TextCache | None = None,
) -> dict[str, Batches]:
    """
    Opens every task's batches for this process.

    Args:
        tasks: those of the stage.
        data: see `read_data`.
        batch_sizes, step_tokens: samples of a step, of all processes together; see `batch_size`.
        limits: what samples may be.
        tokenizer, text_length: of the text tower; None and 0 where no task has texts.
        seed: of the order, and of all that is random about samples.
        rank, processes: which of so many processes this is.
        workers: processes that make batches ahead, for all tasks together; 0 makes them when they are asked for.
        make_layout: see `TrainingBatch.layout`.
        text_cache: embeddings of captions; batches of which it has all texts have these in place of ids.

    Raises:
        ValueError: a task has no sources, a batch has fewer samples than there are processes, or a source does not fit.
        FileNotFoundError: a source's files are missing.
    """

    def tokenize(texts: Sequence[str]) -> torch.Tensor:
        embeds = None if text_cache is None else text_cache.find(texts)
        if embeds is not None:
            return embeds
        return tokenize_text(tokenizer, list(texts), max_length=text_length)

    opened = {}
    for index, task in enumerate(tasks):
        if task not in data:
            raise ValueError(f"data must have sources of {task}, got some of {', '.join(data)}")
        kind = KINDS[task.partition("_")[0]]
        seeds = [seed * 1000 + index * 100 + place for place in range(len(data[task]))]
        # Every process knows the order of all examples, of which the plan gives it some.
        sources = [
            open_source(entry, kind, each, openers=OPENERS) for entry, each in zip(data[task], seeds, strict=True)
        ]
        task_seed = seed * 1000 + index
        opened[task] = Batches(
            task,
            Mixture(sources, task_seed),
            limits,
            batch_size(batch_sizes[task], step_tokens),
            task_seed,
            tokenize,
            make_layout,
            rank,
            processes,
            workers,
        )
    return opened
