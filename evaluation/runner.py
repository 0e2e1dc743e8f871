"""`atoken evaluate`: every model of a configuration on every set that fits it, in chunks that survive being stopped."""

import json
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .chunks import Chunks
from .configuration import EvaluationConfig, ModelEntry, SetEntry
from .embedding import embed_chunk, summarize_classification, summarize_retrieval
from .interface import Embedder, EvaluationSet, MediaTokenizer, ObjectTokenizer
from .projection import summarize_projection
from .reconstruction import Measures, measure_chunk, summarize
from .registry import EMBEDDERS, SETS, TOKENIZERS, find

LIBRARIES = ("torch", "torchvision", "torchmetrics", "transformers", "numpy", "pillow")


@dataclass
class Task:
    """One model on one set."""

    entry: ModelEntry
    set_entry: SetEntry
    model: MediaTokenizer | ObjectTokenizer | Embedder
    samples: EvaluationSet
    chunks: Chunks

    @property
    def name(self) -> str:
        return f"{self.entry.name} on {self.set_entry.name}"


def build_tasks(config: EvaluationConfig, output: Path) -> tuple[list[Task], Measures]:
    """
    Opens every set, model and network, so that what is missing is known before any work.

    Raises:
        FileNotFoundError: a data set or the weights of a network are missing.
        ValueError: no model fits a set, or `output` holds results of something else.
    """
    sets = {entry.name: find(SETS, entry.set, entry.name)(**entry.options) for entry in config.sets}
    for entry in config.sets:
        _check_annotated(entry, sets[entry.name])
    asked = config.measures if config.tokenizers else ()
    measures = Measures(asked, config.weights, config.device)
    libraries = {name: version(name) for name in LIBRARIES}
    planned = []
    for entries, table in ((config.tokenizers, TOKENIZERS), (config.embedders, EMBEDDERS)):
        for entry in entries:
            model = find(table, entry.adapter, entry.name)(**entry.options)
            fitting = [one for one in config.sets if _fits(entry, one, model, sets[one.name])]
            if not fitting:
                raise ValueError(f"{entry.name} fits none of the sets: it takes {', '.join(sorted(model.kinds))}")
            for one in fitting:
                samples = sets[one.name]
                facts = {
                    "model": model.describe(),
                    "options": entry.options,
                    "set": {"name": one.name, "checksum": samples.checksum, "protocol": samples.protocol},
                    "task": one.task,
                    "measures": list(asked) if one.task == "reconstruction" else [],
                    "libraries": libraries,
                }
                planned.append((entry, one, model, samples, facts))
    idle = [one.name for one in config.sets if not any(set_entry is one for _, set_entry, *_ in planned)]
    if idle:
        raise ValueError(f"no model of the configuration fits {', '.join(idle)}")
    # Only now anything is written.
    tasks = []
    for entry, one, model, samples, facts in planned:
        folder = output / "chunks" / entry.name / one.name
        chunks = Chunks(folder, facts, len(samples.samples), config.chunk_size)
        tasks.append(Task(entry, one, model, samples, chunks))
    return tasks, measures


def _check_annotated(entry: SetEntry, samples: EvaluationSet) -> None:
    if entry.task in ("classification", "projection"):
        if not samples.class_names or any(sample.label is None for sample in samples.samples):
            raise ValueError(f"{entry.name}: {entry.task} needs class names and a label of every sample")
    if entry.task == "classification" and not samples.templates:
        raise ValueError(f"{entry.name}: classification needs templates")
    if entry.task == "retrieval" and not all(sample.captions for sample in samples.samples):
        raise ValueError(f"{entry.name}: retrieval needs a caption of every sample")


def _fits(entry: ModelEntry, one: SetEntry, model: Any, samples: EvaluationSet) -> bool:
    fits = samples.kind in model.kinds and one.task in model.tasks
    if one.name in entry.sets and not fits:
        raise ValueError(f"{entry.name} does not fit {one.name}: {samples.kind}, {one.task}")
    return fits and (not entry.sets or one.name in entry.sets)


def run_share(config_path: Path, output: Path, rank: int, processes: int) -> None:
    """Every `processes`-th missing chunk, from the `rank`-th on. The first process shows a bar."""
    if processes > 1:
        torch.set_num_threads(max(1, torch.get_num_threads() // processes))
    tasks, measures = build_tasks(EvaluationConfig.read(config_path), output)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=rank > 0) as progress, torch.inference_mode():
        for task in tasks:
            share = [chunk for chunk in task.chunks.missing() if chunk % processes == rank]
            if not share:
                continue
            for chunk in progress.track(share, description=task.name):
                indices = task.chunks.indices(chunk)
                if task.set_entry.task == "reconstruction":
                    found = measure_chunk(task.model, task.samples, indices, measures)
                else:
                    found = embed_chunk(task.model, task.samples, indices)
                task.chunks.write(chunk, *found)


def _spawned(rank: int, config_path: Path, output: Path, processes: int) -> None:
    run_share(config_path, output, rank, processes)


@torch.inference_mode()
def collect(tasks: list[Task], config: EvaluationConfig) -> dict[str, Any]:
    """All numbers, each with its protocol, from finished chunks."""
    results = []
    for task in tasks:
        if task.set_entry.task == "reconstruction":
            numbers = summarize(task.chunks, task.model.codebook_sizes, config.measures)
        elif task.set_entry.task == "classification":
            numbers = summarize_classification(task.chunks, task.model, task.samples)
        elif task.set_entry.task == "projection":
            numbers = summarize_projection(task.chunks, task.samples)
        else:
            numbers = summarize_retrieval(task.chunks, task.model, task.samples)
        facts = json.loads((task.chunks.folder / "plan.json").read_text(encoding="utf-8"))
        results.append(
            {
                "model": task.entry.name,
                "set": task.set_entry.name,
                "kind": task.samples.kind,
                "task": task.set_entry.task,
                "numbers": numbers,
                "protocol": facts,
            }
        )
    return {"title": config.title, "results": results}


def evaluate(config_path: Path, output: Path, processes: int = 1, overwrite: bool = False) -> dict[str, Any]:
    """
    Runs what is not yet done, and writes results.json, results.md and index.html into `output`.

    Args:
        processes: work side by side; no number depends on it.
        overwrite: start again instead of going on.

    Raises:
        FileNotFoundError, ValueError: before any work; see `build_tasks`.
    """
    from .page import write_report

    config = EvaluationConfig.read(config_path)
    chunks = output / "chunks"
    if overwrite and chunks.is_dir():
        shutil.rmtree(chunks)
    tasks, _ = build_tasks(config, output)
    if processes > 1:
        torch.multiprocessing.spawn(_spawned, (config_path, output, processes), nprocs=processes)
    else:
        run_share(config_path, output, 0, 1)
    results = collect(tasks, config)
    write_report(results, tasks, output)
    temporary = output / ".results.json"
    temporary.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    temporary.replace(output / "results.json")
    return results
