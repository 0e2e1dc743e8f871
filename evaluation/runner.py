"""Every model of a configuration on every set that fits it, in chunks that survive being stopped."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing

from .configuration import EvaluationConfig
from .embedding import embed_chunk, summarize_classification, summarize_retrieval
from .opened_models import OpenedModels
from .page import write_report
from .plan import Task, asked_measures, build_tasks
from .projection import summarize_projection
from .reconstruction import Measures, measure_chunk, summarize
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
            `Measures`, `build_tasks` and `Chunks.check`.
    """
    config = EvaluationConfig.read(config_path)
    models = OpenedModels() if models is None else models
    measures = _open_measures(config)
    tasks = build_tasks(config, models, output)
    if overwrite and (output / "chunks").is_dir():
        shutil.rmtree(output / "chunks")
    for task in tasks:
        task.chunks.check()
    if processes > 1:
        _work_side_by_side(tasks, config, models, measures, progress, processes)
    else:
        _work(tasks, models, measures, progress)
    results = Results(config.title, [_summarize(task, models, config.measures) for task in tasks])
    shown = [task for task in tasks if task.set_entry.task == "reconstruction" and task.decodes]
    write_report(results, [draw_worst(task, models[task.entry], output) for task in shown], output)
    results.write(output / "results.json")
    return results


def _open_measures(config: EvaluationConfig) -> Measures:
    return Measures(asked_measures(config), config.weights, config.device)


@torch.inference_mode()
def _work(
    tasks: list[Task],
    models: OpenedModels,
    measures: Measures,
    progress: Progress | None = None,
    rank: int = 0,
    processes: int = 1,
) -> None:
    """Does every `processes`-th chunk that is missing, from the `rank`-th on."""
    for task in tasks:
        share = [chunk for chunk in task.chunks.missing() if chunk % processes == rank]
        if share and progress is not None:
            progress(task.name, 0, len(share))
        for done, chunk in enumerate(share, start=1):
            model, indices = models[task.entry], task.chunks.indices(chunk)
            if task.set_entry.task == "reconstruction":
                task.chunks.write(chunk, *measure_chunk(model, task.samples, indices, measures))
            else:
                task.chunks.write(chunk, *embed_chunk(model, task.samples, indices))
            if progress is not None:
                progress(task.name, done, len(share))


def _work_side_by_side(
    tasks: list[Task],
    config: EvaluationConfig,
    models: OpenedModels,
    measures: Measures,
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


def use_gpu(rank: int) -> None:
    """Makes "cuda" mean this process's GPU, of which there may be fewer than processes; nothing without one."""
    if torch.cuda.is_available():
        torch.cuda.set_device(rank % torch.cuda.device_count())


def _work_beside(index: int, tasks: list[Task], config: EvaluationConfig, processes: int, threads: int) -> None:
    """Does the share of another process, with one model in memory at a time."""
    torch.set_num_threads(threads)
    use_gpu(index + 1)
    models, measures = OpenedModels(), _open_measures(config)
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
    else:
        numbers = summarize_projection(task.chunks, task.samples)
    return Result(task.entry.name, task.set_entry.name, task.samples.kind, kind, numbers, task.chunks.facts)
