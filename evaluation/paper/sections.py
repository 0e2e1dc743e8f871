"""The tables and figures of the paper, in the order of the page, each with what makes its miniature."""

from collections.abc import Callable

from ..paper_tables import paper_title
from . import (
    answer_tables,
    curriculum_table,
    embedding_figure,
    generated_images,
    generated_media,
    generated_objects,
    image_tables,
    loss_figure,
    object_tables,
    overall_table,
    reconstruction_pictures,
    stage_figures,
    streaming_figure,
    video_tables,
)
from .parts import Part
from .section import PaperSection, Real
from .workspace import Workspace

BOTH = ("checkpoints/atoken-tiny", "checkpoints/atoken-tiny-d")
TINY_STAGES = "training/recipes/tiny/stages"

_Make = Callable[[Workspace], Part]
_Real = Callable[[], Real]


def _table(number: int, make: _Make, real: _Real, files: tuple[str, ...], media: tuple[str, ...] = ()) -> PaperSection:
    return PaperSection(
        f"table-{number}", f"Table {number}: {paper_title(number)}", make, real, number, files=files, media=media
    )


def _figure(
    number: int,
    title: str,
    make: _Make,
    real: _Real,
    files: tuple[str, ...],
    media: tuple[str, ...] = (),
    paper: str | None = None,
) -> PaperSection:
    return PaperSection(f"figure-{number}", f"Figure {number}: {title}", make, real, paper, files=files, media=media)


_LATENTS = (f"checkpoints/{generated_images.LATENTS.name}", *BOTH)
_CODES = (f"checkpoints/{generated_images.CODES.name}", *BOTH)
_ANSWERS = (f"checkpoints/{answer_tables.MODEL}",)

SECTIONS: tuple[PaperSection, ...] = (
    _table(2, curriculum_table.make, curriculum_table.real, files=(TINY_STAGES, "training/tokenizer/stages")),
    _table(3, overall_table.make, overall_table.real, files=BOTH, media=("image", "video", "object")),
    _figure(
        4,
        "losses without a discriminator",
        loss_figure.make,
        loss_figure.real,
        files=("docs/ablation", *BOTH),
        media=("image",),
        paper="figure 4",
    ),
    _figure(
        6,
        "temporal tiles with a cache and overlapping ones",
        streaming_figure.make,
        streaming_figure.real,
        files=(BOTH[0], TINY_STAGES),
        media=("video",),
    ),
    _table(4, image_tables.make_reconstruction, image_tables.real_reconstruction, files=BOTH, media=("image",)),
    _table(5, image_tables.make_understanding, image_tables.real_understanding, files=BOTH),
    _table(6, video_tables.make_reconstruction, video_tables.real_reconstruction, files=BOTH, media=("video",)),
    _table(7, video_tables.make_understanding, video_tables.real_understanding, files=BOTH),
    _figure(
        7,
        "two sizes of the model, stage by stage",
        stage_figures.make,
        stage_figures.real,
        files=(stage_figures.RECORD, stage_figures.HALF),
        paper="figure 7",
    ),
    _table(8, object_tables.make_reconstruction, object_tables.real_reconstruction, files=BOTH, media=("object",)),
    _figure(
        8,
        "representations across training stages",
        embedding_figure.make,
        embedding_figure.real,
        files=(embedding_figure.STAGES, *BOTH),
    ),
    _figure(
        9,
        "reconstructions of images",
        reconstruction_pictures.make_images,
        reconstruction_pictures.real_images,
        files=BOTH,
        media=("image",),
    ),
    _figure(
        10,
        "reconstructions of videos",
        reconstruction_pictures.make_videos,
        reconstruction_pictures.real_videos,
        files=BOTH,
        media=("video",),
    ),
    _figure(
        11,
        "reconstructions of 3D objects",
        reconstruction_pictures.make_objects,
        reconstruction_pictures.real_objects,
        files=BOTH,
        media=("object",),
    ),
    _table(9, answer_tables.make_images, answer_tables.real_images, files=_ANSWERS),
    _table(10, answer_tables.make_videos, answer_tables.real_videos, files=_ANSWERS),
    _table(11, generated_images.make_table_of_latents, generated_images.real_latents, files=_LATENTS),
    _table(12, generated_images.make_table_of_codes, generated_images.real_codes, files=_CODES),
    _table(13, generated_media.make, generated_media.real, files=(f"checkpoints/{generated_media.NAME}", BOTH[0])),
    _figure(
        12,
        "images generated from continuous tokens",
        generated_images.make_figure_of_latents,
        generated_images.real_latents,
        files=_LATENTS,
    ),
    _figure(
        13,
        "images generated from discrete tokens",
        generated_images.make_figure_of_codes,
        generated_images.real_codes,
        files=_CODES,
    ),
    _figure(
        14,
        "3D objects made of images",
        generated_objects.make,
        generated_objects.real,
        files=(f"checkpoints/{generated_objects.NAME}",),
    ),
)
