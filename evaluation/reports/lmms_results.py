"""Scores that lmms-eval has written, read with all they depend on, for the tasks of the paper's Tables 9 and 10."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..results import Result
from .report_files import origin, read_object, report_file

_UNKNOWN = "unknown"


@dataclass(frozen=True)
class AnswerTask:
    """
    Holds where a score of lmms-eval stands in the paper.

    Attributes:
        dataset: column of the paper's table.
        task: of lmms-eval.
        metric: the score of that task.
        factor: that makes it percent.
    """

    dataset: str
    task: str
    metric: str
    factor: float = 100.0


# Number of the paper's table -> its columns. MathVista has three prompts in lmms-eval; the plainest stands for it.
PAPER_TASKS = {
    9: (
        AnswerTask("RW-QA", "realworldqa", "exact_match"),
        AnswerTask("AI2D", "ai2d", "exact_match"),
        AnswerTask("SQA", "scienceqa_img", "exact_match"),
        AnswerTask("MMMU", "mmmu_val", "mmmu_acc"),
        AnswerTask("MathVista", "mathvista_testmini_format", "llm_as_judge_eval", 1.0),
        AnswerTask("OCRBench", "ocrbench", "ocrbench_accuracy"),
        AnswerTask("TextVQA", "textvqa_val", "exact_match"),
    ),
    10: (
        AnswerTask("Video-MME", "videomme", "videomme_perception_score", 1.0),
        AnswerTask("PerceptionTest", "perceptiontest_val_mc", "accuracy"),
        AnswerTask("NExT-QA", "nextqa_mc_test", "exact_match"),
        AnswerTask("LongVideoBench", "longvideobench_val_v", "lvb_acc"),
        AnswerTask("MLVU", "mlvu_dev", "mlvu_percetion_score", 1.0),
        AnswerTask("LVBench", "lvbench", "lvbench_score"),
    ),
}
MINIATURE = "miniature_"  # of the names of our own tasks


def read_lmms_results(path: str | Path, version: str | None = None) -> list[Result]:
    """
    Reads a file `..._results.json` of lmms-eval.

    Args:
        path: of the file.
        version: of lmms-eval; may be left out where the file states it, which it does only for checkouts of its
            repository.

    Returns:
        One result for each of the paper's tasks and of the miniature questions that the file has; `numbers` are
        `accuracy` in percent, for miniature questions also `chance`, and `count`. `protocol` has the model, its
        arguments, lmms-eval's version, date, version of the task, the settings of its generation and the file's
        SHA-256. Tasks of others are passed over.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file holds no scores of lmms-eval or none of these tasks, a score is missing or out of range, or
            nobody states the version.
    """
    path = report_file(path)
    values = _read(path)
    scores, config = values["results"], values["config"]
    stated = str(values.get("lmms_eval_version") or _UNKNOWN)
    if version is None and _UNKNOWN in stated:
        raise ValueError(
            f"version must be given, as {path} does not state that of lmms-eval; `pip show lmms-eval` does"
        )
    shared = {
        "model": config["model"],
        "model_args": config.get("model_args"),
        "lmms_eval": stated if version is None else version,
        "date": values.get("date"),
        "limit": config.get("limit"),
        "files": origin([path], None)["files"],
    }
    results = []
    for task, kind, metric, factor in _known_tasks(scores):
        accuracy = _number(scores[task], metric, f"{path}: {task}") * factor
        if not 0 <= accuracy <= 100:
            raise ValueError(
                f"{path}: {metric} of {task} must be from 0 to {100 / factor:g}, got {accuracy / factor:g}"
            )
        numbers: dict[str, Any] = {"accuracy": accuracy}
        if task.startswith(MINIATURE):
            numbers["chance_percent"] = 100 * _number(scores[task], "chance", f"{path}: {task}")
        count = (values.get("n-samples") or {}).get(task) or {}
        if isinstance(count.get("effective"), int):
            numbers["count"] = count["effective"]
        protocol = {
            **shared,
            "task": task,
            "metric": metric,
            "task_version": (values.get("versions") or {}).get(task),
            "generation": ((values.get("configs") or {}).get(task) or {}).get("generation_kwargs"),
        }
        results.append(Result(_model_name(config), task, kind, "answers", numbers, protocol))
    if not results:
        raise ValueError(
            f"path must have scores of the paper's tasks or of miniature questions, got {list(scores)} in {path}"
        )
    return results


def _read(path: Path) -> dict[str, Any]:
    values = read_object(path, "a results file of lmms-eval")
    parts = ("results", "config")
    if not all(isinstance(values.get(part), dict) for part in parts):
        raise ValueError(f"path must be a results file of lmms-eval with results and config, got another in {path}")
    if not isinstance(values["config"].get("model"), str):
        raise ValueError(f"path must state the model, got {values['config'].get('model')!r} in {path}")
    if not all(isinstance(scores, dict) for scores in values["results"].values()):
        raise ValueError(f"path must have a mapping of scores for each task, got {values['results']!r} in {path}")
    return values


def _known_tasks(scores: dict[str, Any]) -> list[tuple[str, str, str, float]]:
    """Lists task, kind of media, metric and factor of the tasks that we know, in the paper's order."""
    known = [
        (task.task, "image" if number == 9 else "video", task.metric, task.factor)
        for number, tasks in PAPER_TASKS.items()
        for task in tasks
        if task.task in scores
    ]
    ours = [name for name in scores if name.startswith(MINIATURE)]
    return known + [(name, name.split("_")[1], "exact_match", 100.0) for name in ours]


def _number(scores: dict[str, Any], metric: str, where: str) -> float:
    """Gives a score, whose name in the file ends in the filter that it went through."""
    found = [value for name, value in scores.items() if name.split(",")[0] == metric]
    if len(found) != 1 or isinstance(found[0], bool) or not isinstance(found[0], (int, float)):
        raise ValueError(f"{where} must have one number {metric}, got {scores}")
    if not math.isfinite(found[0]):
        raise ValueError(f"{where} must have a finite {metric}, got {found[0]}")
    return float(found[0])


def _model_name(config: dict[str, Any]) -> str:
    """Gives the folder or Hub name of the model, by which its arguments call it."""
    arguments = config.get("model_args")
    if isinstance(arguments, str):
        arguments = dict(part.partition("=")[::2] for part in arguments.split(","))
    pretrained = (arguments or {}).get("pretrained") if isinstance(arguments, dict) else None
    return Path(pretrained).name if pretrained else config["model"]
