"""Figures 9 to 11: originals and reconstructions side by side, with the PSNR of each below its name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from atoken.pages.paper import Shown
from atoken.pages.picture_grid import picture_grid
from atoken.tokenizing.quality import psnr

from ..configuration import EvaluationConfig
from ..reconstruction import RoundTrip, round_trips
from .drawings import png
from .image_tables import image_config, real_reconstruction
from .object_tables import object_config
from .object_tables import real_reconstruction as real_objects_table
from .parts import Part
from .protocol import facts_text
from .section import Real
from .video_tables import real_reconstruction as real_videos_table
from .video_tables import video_config
from .workspace import Workspace

SHOWN_FRAMES = (0, 5, 10, 15)
SHOWN_VIEWS = (0, 3, 6)
Config = Callable[[Workspace], tuple[dict[str, Any], list[str]]]


def make_images(workspace: Workspace) -> Part:
    """Makes Figure 9."""
    return _make(workspace, "images", image_config, (0,), "photos of 256 x 256")


def make_videos(workspace: Workspace) -> Part:
    """Makes Figure 10."""
    frames = ", ".join(map(str, SHOWN_FRAMES))
    return _make(workspace, "videos", video_config, SHOWN_FRAMES, f"clips of 16 frames, of which {frames} are shown")


def make_objects(workspace: Workspace) -> Part:
    """Makes Figure 11."""
    return _make(workspace, "objects", object_config, SHOWN_VIEWS, "objects, of whose 8 views three are shown")


def _make(workspace: Workspace, name: str, config_of: Config, places: tuple[int, ...], what: str) -> Part:
    config, _ = config_of(workspace)
    path = workspace.evaluation_file(name, **config)
    evaluation = EvaluationConfig.read(path)
    (entry,) = evaluation.sets
    samples = entry.open()
    indices = spread(len(samples.samples), workspace.counts.shown)
    rows: dict[int, list[Shown]] = {index: [] for index in indices}
    facts = []
    for model in evaluation.tokenizers:
        workspace.progress(f"pictures of {model.name}")
        tokenizer = model.open()
        facts.append(f"{model.name}: {facts_text(tokenizer.describe())}")
        with torch.inference_mode():
            for index, trip in zip(indices, round_trips(tokenizer, samples, indices), strict=True):
                title = Path(samples.samples[index].name).name
                if not rows[index]:
                    rows[index].append(_shown(trip.original, places, title, "original"))
                rows[index].append(_shown(trip.result, places, title, f"{model.name}, {_quality(trip, samples.kind)}"))
    source = workspace.source(samples.kind)
    whole = "the mean over all 8 views" if samples.kind == "object" else "of all its frames together"
    measured = f"{len(indices)} {what} ({source.note}), and what comes back of them. PSNR is {whole}."
    shown = [one for pictures in rows.values() for one in pictures]
    return Part(measured, shown=shown, protocol=[f"{entry.name}: {facts_text(samples.protocol)}", *facts])


def spread(count: int, shown: int) -> list[int]:
    """Chooses `shown` of `count` numbers, evenly, from the first on."""
    shown = min(count, shown)
    return [place * count // shown for place in range(shown)]


def _shown(frames: torch.Tensor, places: tuple[int, ...], title: str, caption: str) -> Shown:
    chosen = frames[[place for place in places if place < len(frames)]]
    return Shown(png(picture_grid(chosen, len(chosen))), title, f"{title}: {caption}", caption)


def _quality(trip: RoundTrip, kind: str) -> str:
    """Says the PSNR as the harness computes it: of objects the mean over views."""
    if kind != "object":
        return f"{psnr(trip.result, trip.original):.2f} dB"
    values = [psnr(a[None], b[None]) for a, b in zip(trip.result, trip.original, strict=True)]
    return f"{sum(values) / len(values):.2f} dB"


def real_images() -> Real:
    """Says what Figure 9 needs."""
    return real_reconstruction()


def real_videos() -> Real:
    """Says what Figure 10 needs."""
    return real_videos_table()


def real_objects() -> Real:
    """Says what Figure 11 needs."""
    return real_objects_table()
