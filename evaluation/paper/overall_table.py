"""Table 3: images, videos and objects in one table, from the work of Tables 4 to 8."""

from typing import Any

from atoken.pages.paper import TitledTable
from atoken.pages.report import Table

from ..results import Result
from .image_tables import COMMAND, image_results, image_understanding
from .object_tables import object_results, object_understanding
from .parts import Part
from .protocol import protocol_lines
from .reconstruction_config import CONTINUOUS, DISCRETE
from .section import Real
from .video_tables import video_results, video_understanding
from .workspace import Workspace

# Heading, kind of work, number, factor, decimals. Our measures stand where the paper has its own.
COLUMNS: tuple[tuple[str, str, str, int, int], ...] = (
    ("photos PSNR ↑", "images", "psnr", 1, 2),
    ("photos FD (EfficientNet-lite0) ↓", "images", "fd_lite0", 1, 1),
    ("drawn images, pair top-1 % ↑", "image understanding", "top1", 100, 1),
    ("clips PSNR ↑", "videos", "psnr", 1, 2),
    ("clips SSIM ↑", "videos", "ssim", 1, 4),
    ("drawn clips, text to video R@1 % ↑", "video understanding", "text_to_sample_r1", 100, 1),
    ("objects PSNR ↑", "objects", "psnr", 1, 2),
    ("objects ST-LPIPS (VGG) ↓", "objects", "st_lpips_vgg", 1, 4),
    ("drawn objects, shape top-1 % ↑", "object understanding", "top1", 100, 1),
)


def make(workspace: Workspace) -> Part:
    """Makes Table 3."""
    work = {
        "images": image_results(workspace)[0],
        "image understanding": [one for one in image_understanding(workspace) if one.set.startswith("pair")],
        "videos": video_results(workspace)[0],
        "video understanding": [_renamed(one) for one in video_understanding(workspace) if "whole" in one.model],
        "objects": object_results(workspace)[0],
        "object understanding": object_understanding(workspace),
    }
    found = {(kind, result.model): result.numbers for kind, results in work.items() for result in results}
    models = dict.fromkeys(result.model for results in work.values() for result in results)
    first = [CONTINUOUS, DISCRETE]
    rows = [
        [model, *(_cell(found.get((kind, model), {}), name, *form) for _, kind, name, *form in COLUMNS)]
        for model in [*first, *(model for model in models if model not in first)]
    ]
    measured = (
        "The work of Tables 4 to 8 in one table; clips are embedded whole for retrieval. In the places of rFID and "
        "LPIPS are distances by other networks, and in that of rFVD is SSIM, as the headings say, so only PSNR means "
        "the same."
    )
    table = Table(["model", *(heading for heading, *_ in COLUMNS)], rows)
    lines = protocol_lines(result for results in work.values() for result in results)
    return Part(measured, [TitledTable("Media and the miniature world", table)], protocol=lines)


def real() -> Real:
    """Says what Table 3 needs."""
    data = "the data and weights of Tables 4 to 8, and Toys4k for zero-shot accuracy"
    return Real(COMMAND, data, "the sum of Tables 4 to 8, which have their counts")


def _renamed(result: Result) -> Result:
    return Result(result.model.split(",")[0], result.set, result.kind, result.task, result.numbers, result.protocol)


def _cell(numbers: dict[str, Any], name: str, factor: int, decimals: int) -> str:
    value = numbers.get(name)
    if isinstance(value, dict):
        value = value["total"]
    return "" if value is None else f"{factor * value:.{decimals}f}"
