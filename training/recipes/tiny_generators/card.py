"""The model card of a tiny generator, written from its record, so that both say the same."""

from typing import Any

from .subjects import Subject

_ABOUT = {
    "lightning-dit-tiny": "makes latents of [atoken-tiny](../atoken-tiny/README.md) by flow matching",
    "token-bridge-tiny": "makes codes of [atoken-tiny-d](../atoken-tiny-d/README.md), position by position",
}
_CARD = """---
library_name: diffusers
license: apache-2.0
tags: [atoken, class-conditional-image-generation]
---

# {name}

A small {generator} that {about}.
It makes pictures of 64 x 64 pixels of the miniature world, whose 64 classes are a color and a shape, "red circle" to
"brown diamond". {weights:.1f} M parameters in bfloat16. `vae` is a link to the tokenizer.

```python
import atoken.generation
from diffusers import DiffusionPipeline

pipeline = DiffusionPipeline.from_pretrained("checkpoints/{name}")
images = pipeline(["red star", "blue heart"], {settings}).images
```

## Training

{steps:,} steps of {batch} scenes in {minutes:.0f} minutes of a part of two CPU cores, {epochs:.1f} epochs of
{data}. No scene is of the sets that are measured by.
`training.json` is the whole record, with the losses; the command is

    {command}

## {count:,} samples

{head}
|---|---|---|---|---|
{rows}

{share}

The settings above were chosen from {choices} on {chosen_by} other samples. {protocol}.

In the median a sample is {own:.1f} gray levels from the nearest scene of training, a new scene through the tokenizer
{new:.1f}; the least distances are {least:.1f} and {new_least:.1f}.

It shows that the machinery works, not what the architecture can do.
"""


def card_of(subject: Subject, record: dict[str, Any]) -> str:
    """Writes the model card of a generator, in Markdown, from its record."""
    rows = {
        f"samples of {subject.name}": (record["samples"], record["zero_shot"]["samples"]),
        f"ceiling: true scenes through {subject.tokenizer}": (record["ceiling"], record["zero_shot"]["ceiling"]),
        "true scenes": (record["scenes"], None),
        "chance": (record["chance"], record["chance"]),
    }
    lines = [
        f"| {name} | "
        + " | ".join(_percent(found[part]) for part in ("color", "shape", "pair"))
        + f" | {_fid(found)} |"
        for name, (found, _) in rows.items()
    ]
    zero_shot = [
        f"{name} {_percent(record['zero_shot'][which]['color'])} / {_percent(record['zero_shot'][which]['shape'])}"
        for which, name in (("samples", "samples"), ("ceiling", "ceiling"))
    ]
    share = ", ".join(f"{part} {_percent(value)}" for part, value in record["share_of_ceiling"].items())
    neighbors = record["neighbors"]
    return _CARD.format(
        name=subject.name,
        generator="Lightning-DiT" if subject.corpus == "latents" else "TokenBridge",
        about=_ABOUT[subject.name],
        weights=record["weights"] / 1e6,
        settings=", ".join(f"{name}={value}" for name, value in record["sampling"].items()),
        steps=record["steps"],
        batch=record["batch_size"],
        minutes=record["minutes"],
        data=record["data"],
        epochs=record["epochs"],
        command=record["command"],
        count=record["samples"]["count"],
        head="| % right | color | shape | both | FID |",
        rows="\n".join(lines),
        share=f"Of the ceiling, in %: {share}. By the tokenizer's own text tower, zero-shot, color / shape: "
        + "; ".join(zero_shot)
        + ".",
        choices=len(record["choices"]),
        chosen_by=record["choices"][0]["count"],
        protocol=record["protocol"],
        own=neighbors["samples"],
        new=neighbors["new_scenes"],
        least=neighbors["samples_least"],
        new_least=neighbors["new_scenes_least"],
    )


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _fid(found: dict[str, float]) -> str:
    return f"{found['fid']:.2f}" if "fid" in found else ""
