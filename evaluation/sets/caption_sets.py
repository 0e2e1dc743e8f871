"""Sets of captions alone, of which media are made: a text file, and the prompts of GenEval and of VBench."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import torch

from ..interface import EvaluationSet, Sample
from ..json_texts import parsed, read_text
from .file_lists import existing, take

GENEVAL = "GenEval's prompts are prompts/evaluation_metadata.jsonl of https://github.com/djghosh13/geneval"
GENEVAL_PROMPTS, GENEVAL_IMAGES = 553, 4
VBENCH = "VBench's prompts are VBench_full_info.json of the package vbench: pip download --no-deps vbench==0.1.5"
VBENCH_PROMPTS, VBENCH_VIDEOS = 944, 5
VBENCH_FPS = 16.0
_KINDS = ("image", "video")
_GENEVAL_FILE = "file must be evaluation_metadata.jsonl of GenEval"
_VBENCH_FILE = "file must be VBench_full_info.json of VBench"


def prompt_file(file: str, kind: str = "image", fps: float = 8.0, limit: int | None = None) -> EvaluationSet:
    """
    Takes the lines of a text file as captions; empty lines are left out.

    Args:
        file: text in UTF-8.
        kind: "image" or "video", what is to be made.
        fps: frames per second of videos.
        limit: takes so many lines from the first on.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it has no captions, or an option is out of its range.
    """
    if kind not in _KINDS:
        raise ValueError(f"kind must be one of {', '.join(_KINDS)}, got {kind!r}")
    _check_fps(fps)
    path = existing(file, "prompt-file: file")
    lines = [line.strip() for line in read_text(path, "file must have captions").splitlines() if line.strip()]
    if not lines:
        raise ValueError(f"prompt-file: file must have a caption on a line, got {file}, which has none")
    lines = take(lines, None, limit, "prompt-file")
    samples = [_sample(f"{index:05d}", line) for index, line in enumerate(lines)]
    return _set(path.stem, kind, samples, {"source": path.name, **_limit(limit)}, fps=fps)


def geneval_prompts(file: str, images: int = GENEVAL_IMAGES, limit: int | None = None) -> EvaluationSet:
    """
    Takes GenEval's prompts, several images of each; what is made lies as `evaluate_images.py` of GenEval reads it.

    Args:
        file: `evaluation_metadata.jsonl` of GenEval.
        images: of each prompt.
        limit: takes so many prompts from the first on.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is another file, or has not 553 prompts without a `limit`.
    """
    _check_count("images", images)
    path = existing(file, "geneval-prompts: file", GENEVAL)
    lines = [line for line in read_text(path, _GENEVAL_FILE).splitlines() if line.strip()]
    lines = take(lines, GENEVAL_PROMPTS, limit, "geneval-prompts")
    samples, companions = [], {}
    for number, line in enumerate(lines):
        prompt = parsed(line, _GENEVAL_FILE, f"{file}, line {number + 1}").get("prompt")
        if not isinstance(prompt, str) or not prompt:
            raise ValueError(f"geneval-prompts: {file} must have a prompt on every line, got {line!r}")
        companions[f"{number:05d}/metadata.jsonl"] = line + "\n"
        samples += [_sample(f"{number:05d}/samples/{image:04d}", prompt) for image in range(images)]
    protocol = {"source": "GenEval", "images of a prompt": images, **_limit(limit)}
    return _set("geneval", "image", samples, protocol, companions=companions)


def vbench_prompts(
    file: str,
    videos: int = VBENCH_VIDEOS,
    dimensions: Sequence[str] = (),
    fps: float = VBENCH_FPS,
    limit: int | None = None,
) -> EvaluationSet:
    """
    Takes VBench's prompts, several videos of each, with the names PROMPT-NUMBER.mp4 that `vbench evaluate` looks for.

    Args:
        file: `VBench_full_info.json` of VBench.
        videos: of each prompt.
        dimensions: takes only the prompts of these, such as [color, human_action].
        fps: frames per second.
        limit: takes so many prompts from the first on.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is another file, has not 944 different prompts, or no dimension of such a name.
    """
    _check_count("videos", videos)
    _check_fps(fps)
    path = existing(file, "vbench-prompts: file", VBENCH)
    entries = parsed(read_text(path, _VBENCH_FILE), _VBENCH_FILE, file, list)
    prompts: dict[str, set[str]] = {}
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("prompt_en"), str):
            raise ValueError(f"vbench-prompts: {file} must have a prompt_en in every entry, got {entry!r}")
        if "/" in entry["prompt_en"]:
            raise ValueError(f"vbench-prompts: prompts must be fit for the name of a file, got {entry['prompt_en']!r}")
        prompts.setdefault(entry["prompt_en"], set()).update(entry.get("dimension", ()))
    known = set().union(*prompts.values())
    unknown = sorted(set(dimensions) - known)
    if unknown:
        raise ValueError(f"dimensions must be among {', '.join(sorted(known))}, got {', '.join(unknown)}")
    all_prompts = take(list(prompts), None if limit else VBENCH_PROMPTS, None, "vbench-prompts")
    chosen = [prompt for prompt in all_prompts if not dimensions or prompts[prompt] & set(dimensions)]
    chosen = take(chosen, None, limit, "vbench-prompts")
    samples = [_sample(f"{prompt}-{video}", prompt) for prompt in chosen for video in range(videos)]
    protocol = {"source": "VBench", "videos of a prompt": videos, **_limit(limit)}
    if dimensions:
        protocol["dimensions"] = list(dimensions)
    return _set("vbench", "video", samples, protocol, fps=fps)


def _sample(name: str, caption: str) -> Sample:
    return Sample(name, _nothing, (caption,))


def _nothing() -> torch.Tensor:
    raise ValueError("set must have media to be loaded, got one of captions alone")


def _set(name: str, kind: str, samples: list[Sample], protocol: dict[str, Any], **options: Any) -> EvaluationSet:
    listed = json.dumps([[sample.name, sample.captions[0]] for sample in samples])
    protocol = {**protocol, **({"fps": options["fps"]} if kind == "video" else {}), "count": len(samples)}
    digest = hashlib.sha256(listed.encode()).hexdigest()
    return EvaluationSet(name, kind, samples, protocol, digest, has_media=False, **options)


def _limit(limit: int | None) -> dict[str, int]:
    return {} if limit is None else {"limit": limit}


def _check_count(name: str, value: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a positive integer, got {value!r}")


def _check_fps(fps: float) -> None:
    if isinstance(fps, bool) or not isinstance(fps, (int, float)) or not 0 < fps < float("inf"):
        raise ValueError(f"fps must be a positive number, got {fps!r}")
