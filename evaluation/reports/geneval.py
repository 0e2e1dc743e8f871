"""GenEval's verdicts on images (Ghosh et al., 2023), which need mmdet in an environment of their own (Table 13)."""

from typing import Any

from ..results import Result
from .report_files import origin, read_lines, report_file, stated

# Task -> prompts of it; GenEval wants four images of each.
TAGS = {"single_object": 80, "two_object": 99, "counting": 80, "colors": 94, "position": 100, "color_attr": 100}
IMAGES = 4
# The detector that GenEval's numbers are of, as its files call it.
DETECTOR = "mask2former_swin-s-p4-w7-224_lsj_8x2_50e_coco"
NAME = "GenEval"


def read_geneval(
    path: str, version: str, detector: str = DETECTOR, describe: dict[str, Any] | None = None
) -> list[Result]:
    """
    Reads the file that `evaluate_images.py` of GenEval writes.

    Args:
        path: `results.jsonl`, a line for each image.
        version: commit of GenEval, which the file does not state.
        detector: what found objects; numbers of another than GenEval's own carry its name.
        describe: JSON-ready facts that go beside the numbers: weights, settings and seed of the images.

    Returns:
        One result: "geneval_" and the name of a task, shares of its images that are right; "geneval", their mean over
        the six tasks, where all are there; "prompts" and "count" (of images). `protocol["incomplete"]` says what
        the file lacks of 553 prompts with four images each.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is another file, has an image twice, or nobody states the version.
    """
    file = report_file(path)
    stated("version", version), stated("detector", detector)
    right: dict[str, list[bool]] = {}
    prompts: dict[str, dict[str, int]] = {}
    seen = set()
    for where, line in read_lines(file, "results.jsonl of GenEval"):
        tag, prompt, correct, image = (line.get(name) for name in ("tag", "prompt", "correct", "filename"))
        if tag not in TAGS or not isinstance(prompt, str) or not isinstance(image, str):
            raise ValueError(
                f"path must have filename, prompt and a tag of {', '.join(TAGS)} on every line, got {where} with "
                f"{image!r}, {prompt!r} and {tag!r}"
            )
        if not isinstance(correct, bool):
            raise ValueError(f"path must say of every image whether it is correct, got {correct!r} in {where}")
        if image in seen:
            raise ValueError(f"path must have every image once, got {image} again in {where}")
        seen.add(image)
        right.setdefault(tag, []).append(correct)
        counts = prompts.setdefault(tag, {})
        # Two prompts may read the same; GenEval tells them apart by their metadata.
        key = str(line.get("metadata") or prompt)
        counts[key] = counts.get(key, 0) + 1
    if not right:
        raise ValueError(f"path must have a line for each image, got none in {path}")
    shares = {tag: sum(right[tag]) / len(right[tag]) for tag in TAGS if tag in right}
    numbers: dict[str, Any] = {f"geneval_{tag}": value for tag, value in shares.items()}
    if len(shares) == len(TAGS):
        numbers["geneval"] = sum(shares.values()) / len(shares)
    numbers |= {"prompts": sum(map(len, prompts.values())), "count": len(seen)}
    protocol = {
        "source": NAME,
        "version": version,
        "detector": detector,
        "incomplete": _lacking(prompts),
        **origin([file], describe),
    }
    name = NAME if detector == DETECTOR else f"{NAME} with {detector}"
    return [Result(name, name, "image", "report", numbers, protocol)]


def _lacking(prompts: dict[str, dict[str, int]]) -> list[str]:
    """Says which tasks have not all prompts, or prompts not four images."""
    lacking = []
    for tag, expected in TAGS.items():
        counts = prompts.get(tag, {})
        if len(counts) != expected:
            lacking.append(f"{tag}: {len(counts)} of {expected} prompts")
        elif any(count != IMAGES for count in counts.values()):
            lacking.append(f"{tag}: not {IMAGES} images of every prompt")
    return lacking
