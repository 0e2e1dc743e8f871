"""Every model of a configuration on every set that fits it, in chunks that survive being stopped."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing

from .captions import MADE, measure_captions, summarize_captions, write_companions
from .chunks import Chunks
from .chunks import Results as ChunkResults
from .configuration import EvaluationConfig
from .embedding import embed_chunk, summarize_classification, summarize_retrieval
from .generation import measure_images, set_images, summarize_generation
from .gpus import use_gpu
from .made_samples import draw_made
from .opened_measures import OpenedMeasures, open_measures
from .opened_models import OpenedModels
from .page import write_report
from .pictured_objects import measure_objects, summarize_objects
from .plan import Task, build_tasks
from .projection import summarize_projection
from .reconstruction import measure_chunk, summarize
from .results import Result, Results
from .worst import draw_worst

Progress = Callable[[str, int, int], None]


def evaluate(
    config_path: Path,
    output: Path,
    processes: int = 1,
    overwrite: bool = False,
    progress: Progress | None = None,
    models: OpenedModels | None = None,
) -> Results:
    """
    Does what is not done yet, and writes results.json, results.md and index.html into `output`.

    Args:
        config_path: see `EvaluationConfig`.
        output: is created if need be; an evaluation that was stopped goes on in it.
        processes: work side by side, this one among them; no number depends on it. With the device "cuda" each takes
            the next GPU.
        overwrite: starts again instead of going on.
        progress: is called in this process as `progress(description, done, total)`, where `description` names a model
            and a set, and `total` are the chunks of them that this process has to do: first with 0 `done`, then after
            each chunk. It is not called for what was done before.
        models: those that the caller has opened or wants to use afterwards; each is loaded once.

    Raises:
        FileNotFoundError, ValueError: before any work, and before anything is written: see `EvaluationConfig.read`,
            `open_measures`, `build_tasks` and `Chunks.check`.
    """
    config = EvaluationConfig.read(config_path)
    models = OpenedModels() if models is None else models
    reports = [result for entry in config.reports for result in entry.read()]
    measures = open_measures(config)
    tasks = build_tasks(config, models, measures, output)
    if overwrite:
        for old in ("chunks", MADE):
            shutil.rmtree(output / old, ignore_errors=True)
    for task in tasks:
        for chunks in task.work.values():
            chunks.check()
    for task in tasks:
        if task.made is not None:
            write_companions(task.samples, task.made)
    if processes > 1:
        _work_side_by_side(tasks, config, models, measures, progress, processes)
    else:
        _work(tasks, models, measures, progress)
    found = [_summarize(task, models, config.comparing_measures) for task in tasks]
    results = Results(config.title, [*found, *reports])
    shown = [task for task in tasks if task.set_entry.task == "reconstruction" and task.decodes]
    made = [draw_made(task, output) for task in tasks if task.made is not None]
    output.mkdir(parents=True, exist_ok=True)
    write_report(results, [draw_worst(task, models[task.entry], output) for task in shown], made, output)
    results.write(output / "results.json")
    return results


@torch.inference_mode()
def _work(
    tasks: list[Task],
    models: OpenedModels,
    measures: OpenedMeasures,
    progress: Progress | None = None,
    rank: int = 0,
    processes: int = 1,
) -> None:
    """Does every `processes`-th chunk that is missing, from the `rank`-th on."""
    for task in tasks:
        for name, chunks in task.work.items():
            share = [chunk for chunk in chunks.missing() if chunk % processes == rank]
            if share and progress is not None:
                progress(name, 0, len(share))
            for done, chunk in enumerate(share, start=1):
                chunks.write(chunk, *_results(task, chunks, chunks.indices(chunk), models, measures))
                if progress is not None:
                    progress(name, done, len(share))


def _results(
    task: Task, chunks: Chunks, indices: range, models: OpenedModels, measures: OpenedMeasures
) -> ChunkResults:
    """Does the work on some samples."""
    kind = task.set_entry.task
    if kind == "generation":
        own = chunks is task.reference
        images = set_images(task.samples, indices) if own else models[task.entry].images(indices)
        return measure_images(images, indices, measures.compared.adm, measures.compared.device)
    if kind == "reconstruction":
        return measure_chunk(models[task.entry], task.samples, indices, measures.compared)
    if kind == "captions":
        return measure_captions(models[task.entry], task.samples, indices, measures.captions, task.made)
    if kind == "pictures":
        return measure_objects(models[task.entry], task.samples, indices, task.made)
    return embed_chunk(models[task.entry], task.samples, indices)


def _work_side_by_side(
    tasks: list[Task],
    config: EvaluationConfig,
    models: OpenedModels,
    measures: OpenedMeasures,
    progress: Progress | None,
    processes: int,
) -> None:
    """Does a share in this process, with the models that it has, while others do theirs."""
    all_threads = torch.get_num_threads()
    threads = max(1, all_threads // processes)
    others = torch.multiprocessing.spawn(
        _work_beside, (tasks, config, processes, threads), nprocs=processes - 1, join=False
    )
    torch.set_num_threads(threads)
    try:
        _work(tasks, models, measures, progress, 0, processes)
        while not others.join():
            pass
    finally:
        torch.set_num_threads(all_threads)
        for process in others.processes:
            process.terminate()  # those that still work when another has failed


def _work_beside(index: int, tasks: list[Task], config: EvaluationConfig, processes: int, threads: int) -> None:
    """Does the share of another process, with one model in memory at a time."""
    torch.set_num_threads(threads)
    use_gpu(index + 1)
    models, measures = OpenedModels(), open_measures(config)
    for task in tasks:
        models.keep([task.entry])
        _work([task], models, measures, rank=index + 1, processes=processes)


@torch.inference_mode()
def _summarize(task: Task, models: OpenedModels, measures: tuple[str, ...]) -> Result:
    """Computes the numbers of a finished task."""
    kind = task.set_entry.task
    numbers: dict[str, Any]
    if kind == "reconstruction":
        numbers = summarize(task.chunks, task.codebook_sizes, measures)
    elif kind == "classification":
        numbers = summarize_classification(task.chunks, models[task.entry], task.samples)
    elif kind == "retrieval":
        numbers = summarize_retrieval(task.chunks, models[task.entry], task.samples)
    elif kind == "captions":
        numbers = summarize_captions(task.chunks, task.samples)
    elif kind == "pictures":
        numbers = summarize_objects(task.chunks)
    elif kind == "generation":
        numbers = summarize_generation(task.chunks, task.reference, task.samples)
    else:
        numbers = summarize_projection(task.chunks, task.samples)
    protocol = {**(task.reference.facts if task.reference else {}), **task.chunks.facts}
    return Result(task.entry.name, task.set_entry.name, task.samples.kind, kind, numbers, protocol)
