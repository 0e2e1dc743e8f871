"""VBench's scores of videos (Huang et al., 2024), which need packages of their own (Table 13)."""

from pathlib import Path
from typing import Any

from ..results import Result
from .report_files import origin, read_object, report_file, share, stated

NAME = "VBench"
SUFFIX = "_eval_results.json"
# Dimension -> the least and the largest value, by which it is normalized, and its weight: those of VBench's own
# scripts (scripts/constant.py), which papers' scores are of.
QUALITY = {
    "subject_consistency": (0.1462, 1.0, 1.0),
    "background_consistency": (0.2615, 1.0, 1.0),
    "temporal_flickering": (0.6293, 1.0, 1.0),
    "motion_smoothness": (0.706, 0.9975, 1.0),
    "aesthetic_quality": (0.0, 1.0, 1.0),
    "imaging_quality": (0.0, 1.0, 1.0),
    "dynamic_degree": (0.0, 1.0, 0.5),
}
SEMANTIC = {
    "object_class": (0.0, 1.0, 1.0),
    "multiple_objects": (0.0, 1.0, 1.0),
    "human_action": (0.0, 1.0, 1.0),
    "color": (0.0, 1.0, 1.0),
    "spatial_relationship": (0.0, 1.0, 1.0),
    "scene": (0.0, 0.8222, 1.0),
    "appearance_style": (0.0009, 0.2855, 1.0),
    "temporal_style": (0.0, 0.364, 1.0),
    "overall_consistency": (0.0, 0.364, 1.0),
}
DIMENSIONS = (*QUALITY, *SEMANTIC)
QUALITY_WEIGHT, SEMANTIC_WEIGHT = 4, 1
# Prompts of each dimension, of which VBench wants five videos.
PROMPTS = {
    "subject_consistency": 72,
    "background_consistency": 86,
    "temporal_flickering": 75,
    "motion_smoothness": 72,
    "aesthetic_quality": 93,
    "imaging_quality": 93,
    "dynamic_degree": 72,
    "object_class": 79,
    "multiple_objects": 82,
    "human_action": 100,
    "color": 85,
    "spatial_relationship": 84,
    "scene": 86,
    "appearance_style": 90,
    "temporal_style": 100,
    "overall_consistency": 93,
}
VIDEOS = 5


def read_vbench(path: str, version: str, describe: dict[str, Any] | None = None) -> list[Result]:
    """
    Reads the files that `vbench evaluate` writes, a dimension or several in each.

    Args:
        path: a file `..._eval_results.json`, or a folder of them.
        version: of the package vbench, which the files do not state.
        describe: JSON-ready facts that go beside the numbers: weights, settings and seed of the videos.

    Returns:
        One result: "vbench_" and the name of a dimension, as VBench gives it; "vbench_quality" and "vbench_semantic",
        normalized and weighted as by VBench's `cal_final_score.py`, and "vbench_total" of both, each only where all of
        its dimensions are there; "count", videos of the dimension that has most. `protocol["incomplete"]` says
        what is lacking.

    Raises:
        FileNotFoundError: there are no such files.
        ValueError: they are others, have a dimension twice, values that cannot be, or nobody states the version.
    """
    stated("version", version)
    files = _files(path)
    values: dict[str, float] = {}
    videos: dict[str, int] = {}
    found_in: dict[str, str] = {}
    for file in files:
        for name, entry in read_object(file, f"a file {SUFFIX} of VBench").items():
            if name not in DIMENSIONS:
                raise ValueError(f"path must have dimensions of {', '.join(DIMENSIONS)}, got {name!r} in {file}")
            if not isinstance(entry, list) or len(entry) < 2 or not isinstance(entry[1], list):
                raise ValueError(f"path must have a score and a list of videos for {name}, got another form in {file}")
            if name in values:
                raise ValueError(f"path must have every dimension once, got {name} in {found_in[name]} and {file.name}")
            values[name], videos[name] = share(entry[0], name, str(file)), len(entry[1])
            found_in[name] = file.name
    if not values:
        raise ValueError(f"path must have scores of VBench's dimensions, got none in {path}")
    numbers: dict[str, Any] = {f"vbench_{name}": values[name] for name in DIMENSIONS if name in values}
    parts = {"quality": _score(values, QUALITY), "semantic": _score(values, SEMANTIC)}
    numbers |= {f"vbench_{name}": value for name, value in parts.items() if value is not None}
    quality, semantic = parts.values()
    if quality is not None and semantic is not None:
        weighted = QUALITY_WEIGHT * quality + SEMANTIC_WEIGHT * semantic
        numbers["vbench_total"] = weighted / (QUALITY_WEIGHT + SEMANTIC_WEIGHT)
    numbers["count"] = max(videos.values())
    protocol = {
        "source": NAME,
        "version": version,
        "videos": videos,
        "incomplete": _lacking(videos),
        **origin(files, describe),
    }
    return [Result(NAME, NAME, "video", "report", numbers, protocol)]


def _files(path: str) -> list[Path]:
    if not Path(path).is_dir():
        return [report_file(path)]
    files = sorted(Path(path).rglob(f"*{SUFFIX}"))
    if not files:
        raise FileNotFoundError(f"path: there is no file *{SUFFIX} in {path}")
    return files


def _score(values: dict[str, float], dimensions: dict[str, tuple[float, float, float]]) -> float | None:
    """Computes the weighted mean of normalized values, None if one is missing."""
    if not dimensions.keys() <= values.keys():
        return None
    total = sum(
        weight * (values[name] - least) / (largest - least) for name, (least, largest, weight) in dimensions.items()
    )
    return total / sum(weight for *_, weight in dimensions.values())


def _lacking(videos: dict[str, int]) -> list[str]:
    """Says which dimensions are missing, and which have fewer videos than five of each prompt."""
    lacking = []
    for name in DIMENSIONS:
        expected = VIDEOS * PROMPTS[name]
        if name not in videos:
            lacking.append(f"{name}: missing")
        elif videos[name] < expected:
            lacking.append(f"{name}: {videos[name]} of {expected} videos")
    return lacking
