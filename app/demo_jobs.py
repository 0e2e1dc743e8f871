"""The reconstructions of one file by several models, as the demo shows them: pictures, clips and pages."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch

from atoken.pages import comparison
from atoken.pages.gaussians import write_gaussian_page
from atoken.pages.readable import size_text
from atoken.processing.cameras_atoken import turntable_cameras
from atoken.processing.media_writing_atoken import write_image, write_video
from atoken.tokenizing.loading import LoadedModel
from atoken.tokenizing.objects import COMPARED_SIZE, gaussian_pictures, mesh_pictures
from atoken.tokenizing.round_trip import Measured, RoundTrip
from atoken.tokenizing.streams import MediaStream

from .jobs import Job
from .object_jobs import round_trip_of_mesh
from .rows import ReconstructedRow

TURNTABLE_VIEWS, TURNTABLE_FPS = 48, 12.0
# Frame rate of clips that state none.
FALLBACK_FPS = 10.0


@dataclass(frozen=True)
class Shown:
    """Holds what the page shows of a file, and the rows of the table, one for each model."""

    section: comparison.Row
    rows: list[ReconstructedRow]

    def with_warnings(self, warnings: list[str]) -> Self:
        """Gives the same with what readers warned about in every row."""
        return replace(self, rows=[row.with_warnings(warnings) for row in self.rows])


def show_media(loaded: list[LoadedModel], job: Job, folder: Path, media: Path) -> Shown:
    """Writes an image or video and its reconstructions into `folder`."""
    pictures: list[comparison.Picture] = []
    rows = []
    for model in loaded:
        trip = RoundTrip(model, MediaStream.open(model, job.path, job.kind), torch.bfloat16)
        originals, frames = [], []
        for original, reconstruction in trip:
            originals.extend(original)
            frames.extend(reconstruction)
        measured = trip.measured()
        rows.append(ReconstructedRow(file=job.path.name, model=model.name, **asdict(measured)))
        if not pictures:
            files = _write_picture(_base(job, folder, "original"), originals, trip.stream)
            pictures.append(comparison.Picture("original", *files))
        files = _write_picture(_base(job, folder, _label(model)), frames, trip.stream)
        pictures.append(comparison.Picture(_title(model), *files, _facts(measured)))
    section = comparison.Row(str(job.path.relative_to(media)), size_text(rows[0].media_size), pictures)
    return Shown(section, rows)


def show_object(loaded: list[LoadedModel], job: Job, folder: Path, media: Path) -> Shown:
    """
    Writes turntables of a mesh and of its Gaussians, and pages to turn them, into `folder`.

    Raises:
        ValueError: none of the models has a Gaussian decoder.
    """
    able = [model for model in loaded if model.model.gaussian_decoder is not None]
    if not able:
        raise ValueError("no model here has a Gaussian decoder, so 3D objects cannot be shown")
    turntable = turntable_cameras(TURNTABLE_VIEWS)
    pictures: list[comparison.Picture] = []
    rows, links = [], []
    for model in able:
        item, gaussians, measured = round_trip_of_mesh(model, job, "bfloat16")
        rows.append(
            ReconstructedRow(file=job.path.name, model=model.name, gaussians=len(gaussians), **asdict(measured))
        )
        if not pictures:
            original = mesh_pictures(item.mesh, turntable, COMPARED_SIZE)
            pictures.append(comparison.Picture("original", *_write_turntable(_base(job, folder, "original"), original)))
        base = _base(job, folder, _label(model))
        rendered = gaussian_pictures(gaussians, turntable, COMPARED_SIZE)
        pictures.append(comparison.Picture(_title(model), *_write_turntable(base, rendered), _facts(measured)))
        page = base.with_name(f"{base.name}.html")
        write_gaussian_page(page, gaussians.to("cpu"), title=f"{job.path.name}, {_label(model)}")
        links.append((f"Turn the Gaussians of {_label(model)} with the mouse", page.name))
    return Shown(comparison.Row(str(job.path.relative_to(media)), "3D object", pictures, links), rows)


def _base(job: Job, folder: Path, label: str) -> Path:
    # With the suffix in the name, photo.jpg and photo.mp4 do not meet.
    return folder / f"{'-'.join((*job.name.parent.parts, job.path.name.replace('.', '-')))}.{label}"


def _label(model: LoadedModel) -> str:
    return Path(model.name).name


def _title(model: LoadedModel) -> str:
    return f"{_label(model)} ({'discrete codes' if model.discrete else 'continuous latents'})"


def _facts(measured: Measured) -> list[tuple[str, str]]:
    return comparison.quality_facts(
        measured.psnr, measured.ssim, measured.tokens, measured.bits_per_pixel, measured.seconds
    )


def _write_picture(base: Path, frames: list[np.ndarray], source: MediaStream) -> tuple[str, str | None]:
    """The names of a picture, or of a clip and its poster."""
    still = base.with_name(f"{base.name}.png")
    write_image(still, frames[0])
    if source.kind == "image":
        return still.name, None
    clip = base.with_name(f"{base.name}.mp4")
    # Browsers show yuv420p only, which has even sides; the numbers are of the whole frames.
    height, width = (side - side % 2 or side for side in frames[0].shape[:2])
    shown = (frame[:height, :width] for frame in frames)
    write_video(clip, shown, source.fps or FALLBACK_FPS, crf=12, times=source.times)
    return clip.name, still.name


def _write_turntable(base: Path, frames: np.ndarray) -> tuple[str, str]:
    """The names of a clip and its poster."""
    still, clip = (base.with_name(f"{base.name}{suffix}") for suffix in (".png", ".mp4"))
    write_image(still, frames[0])
    write_video(clip, iter(frames), TURNTABLE_FPS, crf=12)
    return clip.name, still.name
