"""A 3D object of a picture: python examples/image_to_object.py [SHOT.png [FOLDER [OUT.ply]]]

SHOT.png has an alpha channel that is 0 behind the object; without one, a picture is drawn. FOLDER holds a pipeline of
image to 3D; the default is the embedded one.
"""

import sys
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from PIL import Image, ImageDraw

import atoken.generation  # noqa: F401  diffusers finds the class of the pipeline by it
from atoken import render
from atoken.gaussian_files_atoken import save_ply
from atoken.processing.cameras_atoken import turntable_cameras

root = Path(__file__).resolve().parent.parent
shot, folder, out = [*sys.argv[1:], *(None, "checkpoints/image-to-object-tiny", "object.ply")[len(sys.argv) - 1 :]]
pipeline = DiffusionPipeline.from_pretrained(root / folder)  # an absolute folder stays what it is
pipeline.to("cuda" if torch.cuda.is_available() else "cpu")

if shot is None:
    picture = Image.new("RGBA", (256, 256))
    ImageDraw.Draw(picture).ellipse((60, 60, 196, 196), fill=(30, 80, 230, 255))
else:
    picture = Image.open(shot)

# The structure first, then latents of its voxels; steps of both are those of the pipeline's configuration.
made = pipeline(picture, generator=torch.Generator().manual_seed(0))
(gaussians,) = made.gaussians
save_ply(gaussians.to("cpu"), Path(out))
views = render(gaussians, turntable_cameras(4), 128)  # (4, 3, 128, 128)
sheet = (views.clamp(0, 1) * 255).round().to(torch.uint8).permute(2, 0, 3, 1).flatten(1, 2)  # (128, 512, 3)
Image.fromarray(sheet.cpu().numpy()).save(Path(out).with_suffix(".png"))
print(f"{len(gaussians)} Gaussians in {len(made.coords)} voxels in {out}")
