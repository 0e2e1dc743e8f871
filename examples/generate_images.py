"""Images of classes by a generator: python examples/generate_images.py [FOLDER [OUT.png]]

FOLDER holds a pipeline of Lightning-DiT, which makes latents, or of TokenBridge, which makes codes. The default is the
embedded Lightning-DiT.
"""

import sys
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from diffusers.utils import make_image_grid

import atoken.generation  # noqa: F401  diffusers finds the classes of the pipelines by it

root = Path(__file__).resolve().parent.parent
folder, out = [*sys.argv[1:], *("checkpoints/lightning-dit-tiny", "generated.png")[len(sys.argv) - 1 :]]
pipeline = DiffusionPipeline.from_pretrained(root / folder)  # an absolute folder stays what it is
device = "cuda" if torch.cuda.is_available() else "cpu"
pipeline.to(device)

# A class may have several names, with commas between them; each of them will do, and so will the number.
names = [name.split(",")[0] for name in pipeline.transformer.config.id2label.values()][:4]
rows = []
for guidance_scale in (1.0, 3.0):  # 1 is without guidance: half of the work, and images that keep less to their class
    # Random numbers of its own for each image: it stays the same whatever is generated beside it.
    generators = [torch.Generator().manual_seed(seed) for seed in range(len(names))]
    rows += pipeline(names, guidance_scale=guidance_scale, generator=generators).images

make_image_grid(rows, rows=2, cols=len(names)).save(out)
print(f"{', '.join(names)}: {len(rows)} images of {rows[0].width} x {rows[0].height} pixels in {out}")
