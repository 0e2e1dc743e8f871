"""Table 2: the training curriculum as the stage files have it, read and not typed."""

from typing import Any

from atoken.pages.paper import TitledTable
from atoken.pages.report import Table

from ..yaml_files import read_yaml
from .parts import Part
from .section import Real
from .workspace import Workspace

FILES = {
    "Tiny, on a laptop": "training/recipes/tiny/stages/tiny-{}.yaml",
    "So400m, for 256 GPUs": "training/tokenizer/stages/so400m-{}.yaml",
}
STAGES = (1, 2, 3, 4)
TASKS = (
    "image_reconstruction",
    "video_understanding",
    "video_reconstruction",
    "3d_understanding",
    "3d_reconstruction",
)


def make(workspace: Workspace) -> Part:
    """Makes Table 2."""
    tables = []
    for title, pattern in FILES.items():
        names = [pattern.format(stage) for stage in STAGES]
        files = [workspace.file(name, "it belongs to a clone of the repository") for name in names]
        rows = [stage_row(read_yaml(path, "stage")) for path in files]
        tables.append(TitledTable(f"{title} ({pattern.format('N')})", Table(HEADING, rows)))
    measured = (
        "The stage files that the trainer reads. Those of So400m have the paper's numbers; the tiny ones have as many "
        "steps as two CPU cores do in hours, and give pictures a larger share."
    )
    return Part(measured, tables, protocol=[f"read from {pattern}" for pattern in FILES.values()])


def real() -> Real:
    """Says what the curriculum needs."""
    return Real(
        "accelerate launch --config_file training/launch/fsdp2.yaml -m atoken.training.tokenizer.train "
        "training/tokenizer/stages/so400m-1.yaml --data data.yaml --init-from google/siglip2-so400m-patch16-naflex "
        "--teacher google/siglip2-so400m-patch16-naflex --output runs/1, then stages 2 to 4",
        "DFN, Open Images, WebVid, TextVR, Panda70M, Objaverse with Cap3D (and internal images, which nobody else has)",
        "138,000 hours of H100 by the paper (section 3.5); docs/curriculum.md counts what the stage files take",
    )


HEADING = [
    "stage",
    "image res.",
    "video res.",
    "frames",
    "latent channels",
    *(f"{task.replace('_', ' ').replace('3d', '3D')} %" for task in TASKS),
    "steps",
]


def stage_row(stage: dict[str, Any]) -> list[str]:
    """Writes a stage file as a row; shares are of the steps that are not image understanding, as in the paper."""
    total = sum(stage["ratios"].values())
    shares = [f"{100 * stage['ratios'][task] / total:.1f}" if task in stage["ratios"] else "" for task in TASKS]
    frames = stage.get("frames") or ("16 to 32" if stage.get("tile_frames") == "sample" else "")
    return [
        stage["name"],
        _range(stage.get("image_resolution")),
        _range(stage.get("video_resolution")),
        ", ".join(map(str, frames)) if isinstance(frames, list) else str(frames),
        str(stage["latent_channels"]),
        *shares,
        f"{stage['steps']:,}",
    ]


def _range(sizes: list[int] | None) -> str:
    return f"{sizes[0]} to {sizes[1]}" if sizes else ""
