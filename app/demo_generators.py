"""What an embedded generator makes, beside true scenes through its tokenizer, as the demo shows it."""

import time
from pathlib import Path

import numpy as np
import torch

from atoken.evaluation.models.generator_loading import LoadedGenerator, load_generator
from atoken.evaluation.seeded_images import SeededImages
from atoken.miniature.pictures import draw_image
from atoken.miniature.scenes import MATERIALS, POSITIONS, Scene
from atoken.pages import comparison
from atoken.pages.picture_grid import picture_grid
from atoken.processing.media_writing_atoken import write_image

from .errors import naming

IMAGES = 16


def show_generator(name: str, folder: Path, device: str) -> comparison.Row:
    """
    Writes three grids with the same classes in the same places into `folder`: true scenes, what comes back of them
    through the generator's tokenizer, and generated images. No generator can be better than the second one.

    Args:
        name: of an embedded generator, whose classes are a color and a shape of the miniature world.
        device: "cpu" or "cuda".

    Raises:
        FileNotFoundError, ValueError: it cannot be loaded, or has other classes.
    """
    with naming(name):
        loaded = load_generator(name, device)
    classes = loaded.pipeline.transformer.config.num_classes
    # Of many colors and many shapes: classes are numbered color by color.
    chosen = [(index * classes // IMAGES + index) % classes for index in range(IMAGES)]
    scenes = _true_scenes([loaded.class_names[each] for each in chosen], _side(loaded))
    started = time.perf_counter()
    generated = SeededImages(loaded.pipeline, chosen, settings=loaded.sampling).images(range(IMAGES))
    seconds = (time.perf_counter() - started) / IMAGES
    grids = {
        "true scenes": (scenes, []),
        "through the tokenizer: the ceiling": (_round_trip(loaded, scenes), []),
        "generated": (generated, [("seconds an image", f"{seconds:.2f}")]),
    }
    pictures = []
    for index, (title, (images, facts)) in enumerate(grids.items()):
        file = folder / f"{name}.{index}.png"
        write_image(file, picture_grid(images))
        pictures.append(comparison.Picture(title, file.name, facts=facts))
    side = _side(loaded)
    return comparison.Row(f"Images of classes by {name}", f"{side} x {side}, {classes} classes", pictures)


def _side(loaded: LoadedGenerator) -> int:
    """Pixels of a side of a generated image."""
    return loaded.pipeline.transformer.config.sample_size * loaded.pipeline.vae.config.scale_factor_spatial


def _true_scenes(names: list[str], side: int) -> torch.Tensor:
    """Draws a scene of each class: (N, 3, side, side) uint8."""
    scenes = []
    for index, name in enumerate(names):
        words = name.split()
        if len(words) != 2:
            raise ValueError(f"classes must be a color and a shape, such as 'red star', got {name!r}")
        rng = np.random.default_rng(index)
        material, position = rng.choice(MATERIALS), rng.choice(list(POSITIONS))
        scene = Scene("image", *words, str(material), position=str(position), jitter=index)
        scenes.append(torch.from_numpy(draw_image(scene, side)))
    return torch.stack(scenes)


@torch.no_grad()
def _round_trip(loaded: LoadedGenerator, images: torch.Tensor) -> torch.Tensor:
    """Encodes and decodes (N, 3, H, W) uint8."""
    vae = loaded.pipeline.vae
    pixels = (images / 127.5 - 1).to(vae.device, vae.dtype)
    decoded = vae.decode(vae.encode(pixels).latent_dist.mode()).sample.float().cpu()
    return (decoded * 127.5 + 127.5).clamp(0, 255).round().to(torch.uint8)
