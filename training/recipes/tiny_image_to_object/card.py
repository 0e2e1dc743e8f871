"""The model card of the tiny generator of 3D objects, written from its record, so that both say the same."""

from typing import Any

from .parts import PARTS
from .release import NAME

_CARD = """---
library_name: diffusers
license: apache-2.0
tags: [atoken, image-to-3d]
---

# {name}

A small generator of 3D Gaussians from a picture, in two stages as TRELLIS has them, on the latents of
[atoken-tiny](../atoken-tiny/README.md). It knows solids of the miniature world. {weights:.1f} M parameters in bfloat16.
`vae` is a link to the tokenizer, whose encoder sees the picture, too.

```python
import atoken.generation
from diffusers import DiffusionPipeline
from PIL import Image

pipeline = DiffusionPipeline.from_pretrained("checkpoints/{name}")
(gaussians,) = pipeline(Image.open("shot.png")).gaussians  # a picture with alpha
```

## Training

On {data}, on a part of two CPU cores:

| part | weights | steps | minutes | epochs |
|---|---|---|---|---|
{trainings}

`training.json` is the whole record, with the losses; the command is

    {command}

## Held-out objects

| | IoU | PSNR (dB) | color (gray levels) |
|---|---|---|---|
{rows}

{protocol}. The structure VAE gives back held-out structures
with an IoU of {reconstructed:.3f}.

An object took {seconds:.1f} s in the median; a process that loads everything and makes one {process:.0f} s and at most
{memory:,} MB. It shows that the machinery works, not what the architecture can do.
"""


def card_of(record: dict[str, Any]) -> str:
    """Writes the model card, in Markdown, from the record."""
    trainings = [
        f"| {name} | {each['weights'] / 1e6:.2f} M | {each['steps']:,} | {each['minutes']:.0f} | {each['epochs']:.1f} |"
        for name, each in record["trainings"].items()
    ]
    rows = [
        f"| {name} | {each['iou']:.3f} | {each['psnr']:.2f} | {each['color']:.1f} |"
        for name, each in record["measured"].items()
    ]
    return _CARD.format(
        name=NAME,
        weights=sum(record["trainings"][part.name]["weights"] for part in PARTS) / 1e6,
        data=record["data"],
        trainings="\n".join(trainings),
        command=record["command"],
        rows="\n".join(rows),
        protocol=record["protocol"],
        reconstructed=record["structure_vae_iou"],
        seconds=record["seconds_of_an_object"],
        process=record["process_of_an_object"]["seconds"],
        memory=record["process_of_an_object"]["peak_memory_mb"],
    )
