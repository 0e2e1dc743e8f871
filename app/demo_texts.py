"""What the embedded generator of texts makes, beside true scenes through its tokenizer, as the demo shows it."""

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from atoken.evaluation.models.media_generator_loading import LoadedMediaGenerator, load_media_generator
from atoken.evaluation.seeded_images import image_generator
from atoken.miniature.captions import full_caption
from atoken.miniature.scenes import Scene, random_scene
from atoken.miniature.world import draw
from atoken.pages import comparison
from atoken.pages.picture_grid import picture_grid
from atoken.processing.media_writing_atoken import write_image, write_video

from .errors import naming

COLUMNS, FRAMES, FPS = 4, 16, 8.0
NAMES = {"image": "Images", "video": "Clips"}


def show_texts(name: str, folder: Path, device: str) -> list[comparison.Row]:
    """
    Writes grids of images and of clips with the same captions in the same places into `folder`: true scenes, what comes
    back of them through the generator's tokenizer, and generated ones. The lower row has pairs of color and shape that
    were in no caption of the training.

    Args:
        name: of an embedded generator of the miniature world.
        device: "cpu" or "cuda".

    Raises:
        FileNotFoundError, ValueError: it cannot be loaded.
    """
    with naming(name):
        loaded = load_media_generator(name, device)
    return [_show(loaded, kind, folder) for kind in NAMES]


def _show(loaded: LoadedMediaGenerator, kind: str, folder: Path) -> comparison.Row:
    frames = 1 if kind == "image" else FRAMES
    sampling = loaded.pipeline.check_inputs(["a star"], frames)
    scenes = _scenes(kind)
    captions = [full_caption(scene) for scene in scenes]
    true = torch.stack([torch.as_tensor(draw(scene, sampling.height, FRAMES)) for scene in scenes])
    true = true[:, None] if kind == "image" else true  # (N, T, 3, H, W) uint8
    started = time.perf_counter()
    generators = [image_generator(0, index) for index in range(len(captions))]
    size = {"height": sampling.height, "width": sampling.height}
    made = loaded.pipeline(captions, frames, **size, generator=generators, output_type="pt")
    seconds = (time.perf_counter() - started) / len(captions)
    pixels = made.images[:, None] if kind == "image" else made.frames
    grids = {
        "true scenes": (true, []),
        "through the tokenizer: the ceiling": (_round_trip(loaded, true), []),
        "generated": ((pixels * 255).round().to(torch.uint8).cpu(), [(f"seconds each {kind}", f"{seconds:.2f}")]),
    }
    stem = Path(loaded.name).name
    pictures = write_grids(folder / f"{stem}.{kind}", grids)
    listed = "; ".join(f'"{caption}"' for caption in captions)
    note = f"{listed}. The pairs of color and shape in the lower row were in no caption of the training"
    return comparison.Row(f"{NAMES[kind]} of texts by {stem}", note, pictures)


def _scenes(kind: str) -> list[Scene]:
    """Gives a row of scenes whose pairs of color and shape were learned, and a row of others."""
    rng = np.random.default_rng(7)
    return [random_scene(kind, split, rng) for split in ("train", "held_out") for _ in range(COLUMNS)]


def write_grids(
    base: Path, grids: Mapping[str, tuple[torch.Tensor, list[tuple[str, str]]]]
) -> list[comparison.Picture]:
    """
    Writes grids to be shown side by side.

    Args:
        base: path, to which numbers and suffixes are added.
        grids: title -> media as `write_grid` takes them, and facts to be written below.
    """
    return [
        comparison.Picture(title, *write_grid(base.with_name(f"{base.name}.{index}"), media), facts=facts)
        for index, (title, (media, facts)) in enumerate(grids.items())
    ]


def write_grid(base: Path, media: torch.Tensor) -> tuple[str, str | None]:
    """
    Writes pictures or clips of one size as a grid of four columns.

    Args:
        base: path without a suffix.
        media: (N, T, 3, H, W) uint8; T is 1 for pictures.

    Returns:
        The names of a picture's file and None, or of a clip's and its poster's.
    """
    grids = [picture_grid(frame, COLUMNS).numpy() for frame in media.unbind(1)]
    still = base.with_name(f"{base.name}.png")
    write_image(still, grids[0])
    if len(grids) == 1:
        return still.name, None
    clip = base.with_name(f"{base.name}.mp4")
    write_video(clip, iter(grids), FPS, crf=12)
    return clip.name, still.name


@torch.no_grad()
def _round_trip(loaded: LoadedMediaGenerator, media: torch.Tensor) -> torch.Tensor:
    """Encodes and decodes (N, T, 3, H, W) uint8."""
    vae, is_image = loaded.pipeline.vae, media.shape[1] == 1
    pixels = (media / 127.5 - 1).to(vae.device, vae.dtype)
    decoded = vae(pixels[:, 0]).sample[:, None] if is_image else vae(pixels.transpose(1, 2)).sample.transpose(1, 2)
    return (decoded.float().cpu() * 127.5 + 127.5).clamp(0, 255).round().to(torch.uint8)
