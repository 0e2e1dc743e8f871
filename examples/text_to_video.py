"""Images and clips of texts: python examples/text_to_video.py [FOLDER [OUT [TEXT...]]]

FOLDER holds a pipeline of texts; the default is the embedded one, which knows the words of the miniature world. OUT.png
and OUT.mp4 are written, of several texts side by side.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.utils import make_image_grid

import atoken.generation  # noqa: F401  diffusers finds the class of the pipeline by it
from atoken.processing.media_writing_atoken import write_video

root = Path(__file__).resolve().parent.parent
folder, out = [*sys.argv[1:3], *("checkpoints/text-to-media-tiny", "generated")[len(sys.argv[1:3]) :]]
texts = sys.argv[3:] or [
    "a plain red square moving left",
    "a striped blue star growing",
    "a shiny green heart going round",
]
pipeline = DiffusionPipeline.from_pretrained(root / folder)  # an absolute folder stays what it is
pipeline.to("cuda" if torch.cuda.is_available() else "cpu")

# Random numbers of its own for each item: it stays the same whatever is generated beside it.
generators = [torch.Generator().manual_seed(seed) for seed in range(len(texts))]
images = pipeline(texts, generator=generators).images
make_image_grid(images, rows=1, cols=len(images)).save(f"{out}.png")

# The same weights make clips; frames of a clip are a multiple of 4.
frames = pipeline(texts, num_frames=16, generator=generators, output_type="np").frames  # (B, T, H, W, 3) in [0, 1]
side_by_side = np.concatenate(list(frames), axis=2)
write_video(f"{out}.mp4", (side_by_side * 255).round().astype(np.uint8), fps=8)
print(f"{len(texts)} images in {out}.png, {len(texts)} clips of {frames.shape[1]} frames in {out}.mp4")
