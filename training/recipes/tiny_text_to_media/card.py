"""The model card of the tiny text-to-media generator, written from its record, so that both say the same."""

from typing import Any

from .release import NAME

_CARD = """---
library_name: diffusers
license: apache-2.0
tags: [atoken, text-to-image, text-to-video]
---

# {name}

A small transformer of HunyuanVideo's kind that makes latents of [atoken-tiny](../atoken-tiny/README.md) by flow
matching: images of 64 x 64 pixels and clips of 16 frames of the miniature world, of its captions, with one set of
weights. {weights:.1f} M parameters in bfloat16. `vae` is a link to the tokenizer, whose text tower is the text encoder.

```python
import atoken.generation
from diffusers import DiffusionPipeline

pipeline = DiffusionPipeline.from_pretrained("checkpoints/{name}")
image = pipeline("a striped red star in the top left").images[0]
frames = pipeline("a plain blue heart moving left", num_frames=16).frames[0]
```

It knows the words of the miniature world, in sentences of at most 16 tokens.

## Training

{images} images, then {videos} clips with two fifths of the steps on images, begun with the weights of the images:
{image_steps:,} steps in {image_minutes:.0f} minutes and {video_steps:,} steps in {video_minutes:.0f} minutes, on a part
of one of two CPU cores. {going_on}Twelve of the 64 pairs of color and shape occur in no caption of training; the
captions of the tables below have no other pairs. `training.json` is the whole record, with the losses; the command is

    {command}

{tables}
{arms}
{protocol}.

It shows that the machinery works, not what the architecture can do.
"""

_TITLES = {"image": "Images of held-out captions", "video": "Clips of held-out captions"}
_COLUMNS = ("color", "shape", "pair", "motion", "all")


def card_of(record: dict[str, Any]) -> str:
    """Writes the model card, in Markdown, from its record."""
    return _CARD.format(
        name=NAME,
        weights=record["weights"] / 1e6,
        images=f"{record['data']['images']:,}",
        videos=f"{record['data']['videos']:,}",
        image_steps=record["image_stage"]["steps"],
        image_minutes=record["image_stage"]["minutes"],
        video_steps=record["video_stage"]["steps"],
        video_minutes=record["video_stage"]["minutes"],
        going_on=_going_on(record["video_stage"]),
        command=record["command"],
        tables="\n\n".join(_table(kind, record[kind]) for kind in ("image", "video")),
        arms=_arms(record["arms"]) if "arms" in record else "",
        protocol=record["protocol"],
    )


def _going_on(stage: dict[str, Any]) -> str:
    """Says what was different in the parts by which a training went on."""
    return "".join(
        f"From step {part['from_step']:,} on, for {part['minutes']:.0f} minutes, there were {part['images']:,} images\n"
        f"and {part['videos']:,} clips, {100 * part['image_share']:.0f} % of the steps on images, "
        f"and {part['num_layers']} blocks.\n"
        for part in stage.get("going_on", ())
    )


def _table(kind: str, measured: dict[str, Any]) -> str:
    columns = [name for name in _COLUMNS if name in measured["samples"]]
    rows = {
        "samples": measured["samples"],
        "ceiling: true scenes through atoken-tiny": measured["ceiling"],
        "true scenes": measured["scenes"],
        "samples of captions whose pairs were learned": measured["seen"],
        "chance": measured["chance"],
        "samples, zero-shot": measured["zero_shot"]["samples"],
        "ceiling, zero-shot": measured["zero_shot"]["ceiling"],
    }
    lines = [
        f"| {name} | " + " | ".join(_percent(each[part]) for part in columns) + " |" for name, each in rows.items()
    ]
    share = ", ".join(f"{name} {_percent(measured['share_of_ceiling'][name])}" for name in columns)
    settings = ", ".join(f"{name} {value}" for name, value in measured["sampling"].items())
    return "\n".join(
        [
            f"## {_TITLES[kind]}",
            "",
            f"{measured['samples']['count']} of them, with {settings}, chosen from {len(measured['choices'])} on other "
            f"captions. {measured['seconds']:.2f} seconds each, on a busy machine.",
            "",
            f"| % right | {' | '.join(columns)} |",
            "|---|" + "---|" * len(columns),
            *lines,
            "",
            f"Of the ceiling, in %: {share}.",
        ]
    )


def _arms(arms: dict[str, Any]) -> str:
    grown, scratch = arms["grown"], arms["from_scratch"]
    both = [f"{name} {_percent(grown[name])} / {_percent(scratch[name])}" for name in _COLUMNS]
    return (
        f"\nGrown from images / from nothing, two trainings of {grown['steps']:,} steps each: loss of clips "
        f"{grown['loss']:.3f} / {scratch['loss']:.3f}, % right {', '.join(both)}.\n"
    )


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"
