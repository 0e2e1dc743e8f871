"""The tiny text-to-media generator from nothing: scenes with captions, latents, images first, then videos grown of them.

    python -m atoken.training.recipes.tiny_text_to_media.run OUT

It goes on where it was stopped.
"""

from pathlib import Path
from typing import Annotated

import typer

from atoken_headers.model_folders import CHECKPOINTS

from .corpora import write_latents, write_scenes
from .training import train

TOKENIZER = "atoken-tiny"


def main(
    out: Annotated[Path, typer.Argument(help="Folder for all of it.")],
    image_steps: Annotated[int, typer.Option(help="Steps of the training on images.")] = 3000,
    video_steps: Annotated[int, typer.Option(help="Steps of the training on videos.")] = 2500,
    images: Annotated[int, typer.Option(help="Images that are learned of.")] = 6144,
    videos: Annotated[int, typer.Option(help="Clips that are learned of.")] = 2048,
    seed: Annotated[int, typer.Option(help="Of the trainings.")] = 0,
) -> None:
    """Does what is not done yet."""
    tokenizer = CHECKPOINTS / TOKENIZER
    corpora = {kind: out / f"{kind}s" for kind in ("image", "video")}
    write_scenes(out / "image.parquet", "image", images)
    write_latents(out / "image.parquet", "image", tokenizer, corpora["image"])
    of_images = train(out, "image-stage", tokenizer, {"image": corpora["image"]}, "images", image_steps, seed=seed)
    write_scenes(out / "video.parquet", "video", videos)
    write_latents(out / "video.parquet", "video", tokenizer, corpora["video"])
    train(out, "video-stage", tokenizer, corpora, "videos", video_steps, of_images, seed)


if __name__ == "__main__":
    typer.run(main)
