"""Makes the picture that the README begins with: media, and what the tiny models make of them.

    python docs/front_picture.py

The media are those of `examples/media`, whose licenses are in `examples/media/LICENSES.md`.
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from atoken.processing.cameras_atoken import turntable_cameras
from atoken.processing.mesh_reading_atoken import read_mesh
from atoken.tokenizing.loading import LoadedModel, load_model
from atoken.tokenizing.objects import decode_to_gaussians, encode_mesh, gaussian_pictures, mesh_pictures, stored
from atoken.tokenizing.round_trip import RoundTrip
from atoken.tokenizing.streams import MediaStream

ROOT = Path(__file__).resolve().parent.parent
MEDIA = ROOT / "examples" / "media"
PHOTO, CLIP, OBJECT = MEDIA / "cat.jpg", MEDIA / "cup.mp4", MEDIA / "extinguisher.glb"
MODELS = {"continuous": "atoken-tiny", "discrete": "atoken-tiny-d"}
FRAMES, TURNS = (2, 16, 30), (0, 2, 4)  # of the clip, and of eight views around the object
HEIGHT, GAP, LABELS = 200, 6, 110  # pixels: of a picture, between pictures, and left of a row


def reconstruct(loaded: LoadedModel, path: Path, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Gives the original and what comes back, each (T, H, W, 3) uint8."""
    pairs = list(RoundTrip(loaded, MediaStream.open(loaded, path, kind), torch.bfloat16))
    originals, reconstructions = zip(*pairs, strict=True)
    return np.concatenate(originals), np.concatenate(reconstructions)


def turned(loaded: LoadedModel) -> tuple[np.ndarray, np.ndarray]:
    """Gives views of the mesh and of the Gaussians that come back, each (V, S, S, 3) uint8."""
    cameras = turntable_cameras(8)
    item = encode_mesh(loaded, read_mesh(OBJECT))
    gaussians, _ = decode_to_gaussians(loaded, stored(loaded, item.latents, "bfloat16"), item.coords)
    return mesh_pictures(item.mesh, cameras, HEIGHT), gaussian_pictures(gaussians, cameras, HEIGHT)


def strip(photo: np.ndarray, frames: np.ndarray, views: np.ndarray) -> np.ndarray:
    """Puts pictures side by side, at one height."""
    pictures = [Image.fromarray(picture) for picture in (photo[0], *frames[list(FRAMES)], *views[list(TURNS)])]
    pictures = [p.resize((round(p.width * HEIGHT / p.height), HEIGHT), Image.Resampling.LANCZOS) for p in pictures]
    gap = np.full((HEIGHT, GAP, 3), 255, np.uint8)
    parts = [part for picture in pictures for part in (np.asarray(picture), gap)]
    return np.concatenate(parts[:-1], axis=1)


def main() -> None:
    """Writes docs/front-picture.jpg."""
    rows: dict[str, np.ndarray] = {}
    for label, name in MODELS.items():
        loaded = load_model(name, "cpu", "float32")
        found = [reconstruct(loaded, PHOTO, "image"), reconstruct(loaded, CLIP, "video"), turned(loaded)]
        originals, reconstructions = zip(*found, strict=True)
        rows.setdefault("original", strip(*originals))
        rows[label] = strip(*reconstructions)
    width = LABELS + next(iter(rows.values())).shape[1]
    canvas = Image.new("RGB", (width, len(rows) * (HEIGHT + GAP) - GAP), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(18)
    for index, (label, row) in enumerate(rows.items()):
        top = index * (HEIGHT + GAP)
        canvas.paste(Image.fromarray(row), (LABELS, top))
        draw.text((LABELS - 10, top + HEIGHT / 2), label, fill="#333", font=font, anchor="rm")
    canvas.save(ROOT / "docs" / "front-picture.jpg", quality=88)


if __name__ == "__main__":
    main()
