"""The model card of the tiny multimodal model, written from its record, so that both say the same."""

from typing import Any

_CARD = """---
library_name: transformers
pipeline_tag: image-text-to-text
license: apache-2.0
tags: [atoken, image-text-to-text, video-text-to-text]
---

# atoken-tiny-llava

A small multimodal language model that answers questions about pictures and clips of the miniature world: the encoder
of [{tower}](../{tower}/README.md), frozen, in SlowFast-LLaVA with a Qwen2 of 4 layers that began from nothing.
{weights:.1f} M parameters in bfloat16. Text is lower case and without punctuation, with one token for each of the
world's words.

```python
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor
import atoken.mllm

model = AutoModelForImageTextToText.from_pretrained("checkpoints/atoken-tiny-llava", dtype=torch.float32)
processor = AutoProcessor.from_pretrained("checkpoints/atoken-tiny-llava")
```

Media become about 64 x 64 pixels, of which the encoder makes 16 tokens; of a video 8 frames are taken. 20 tokens of the
language model are a picture, 97 a video.

## Training

{stages}

Many questions are asked of each picture or clip, in any order. The encoder's features were computed once.
`training.json` is the whole record, with the curves; the command is

    {command}
{differed}
## {count} held-out questions of each kind

{measures}

{protocol}.

{misses}

## What the encoder gives

{probes}

With an untrained encoder and a shorter training ({control_steps} steps in {control_minutes:.0f} minutes): {control}.

## Ways of showing a video

{settings}

Each learned {adapted} steps more from the same weights, on conversations about videos alone, and was asked
{settings_count} questions of each kind. Seconds are the processor's, for one question about one clip.

It knows the miniature world alone, and shows that the machinery works, not what the architecture can do.
"""
# What the model was to reach: share of right answers, or points below the probe.
GOALS = {
    "image, color": 0.95,
    "image, material": 0.95,
    "image, position": 0.95,
    "image, choice": 0.8,
    "image, yes or no": 0.8,
    "video, color": 0.95,
    "video, material": 0.95,
    "video, motion": 0.95,
    "video, choice": 0.8,
    "video, yes or no": 0.8,
}
BELOW_PROBE = {"image, shape": ("image", "shape"), "video, shape": ("video", "shape")}
LARGEST_GAP = 0.05


def card_of(record: dict[str, Any]) -> str:
    """Writes the model card, in Markdown, from the record."""
    measures, control = record["measures"], record["untrained_tower"]
    stages = [
        f"{stage['steps']:,} steps of {stage['batch']} conversations in {stage['minutes']:.0f} minutes of {name} "
        f"({', '.join(f'{number:,} about {kind}' for kind, number in record['conversations'][name].items())})"
        for name, stage in record["stages"].items()
    ]
    return _CARD.format(
        tower=record["tower"],
        weights=record["weights"] / 1e6,
        stages="On " + record["machine"] + ": " + "; then ".join(stages) + ".",
        command=record["command"],
        # What the run that made the weights did otherwise than the recipe, if anything.
        differed=f"\n{record['how_it_differed']}\n" if "how_it_differed" in record else "",
        count=measures[0]["count"],
        measures=measures_table(record),
        protocol=record["protocol"],
        misses=misses_of(record),
        probes=probes_table(record),
        control_steps=sum(stage["steps"] for stage in control["stages"].values()),
        control_minutes=sum(stage["minutes"] for stage in control["stages"].values()),
        control=", ".join(f"{each['name']} {_percent(each['right'])}" for each in control["measures"]),
        settings=settings_table(record),
        adapted=record["settings"][0]["steps"],
        settings_count=record["settings"][0]["count"],
    )


def measures_table(record: dict[str, Any]) -> str:
    """Tabulates the shares of right answers beside those of the blind model and of guessing."""
    control = {each["name"]: each["right"] for each in record["untrained_tower"]["measures"]}
    lines = ["| % right | model | blind | chance | untrained encoder |", "|---|---|---|---|---|"]
    for each in record["measures"]:
        shares = [each["right"], each["blind"], each["chance"], control[each["name"]]]
        lines.append(f"| {each['name']} | " + " | ".join(_percent(share) for share in shares) + " |")
    return "\n".join(lines)


def probes_table(record: dict[str, Any]) -> str:
    """Tabulates the linear probes beside the model's open answers."""
    right = {(each["medium"], each["about"]): each["right"] for each in record["measures"]}
    lines = ["| % right | linear probe | model |", "|---|---|---|"]
    for medium, shares in record["probes"].items():
        for attribute, share in shares.items():
            name = "color" if attribute == "colour" else attribute
            lines.append(f"| {medium}, {name} | {_percent(share)} | {_percent(right[medium, attribute])} |")
    return "\n".join(lines)


def settings_table(record: dict[str, Any]) -> str:
    """Tabulates ways of showing a video: tokens, seconds and shares of right answers."""
    names = list(record["settings"][0]["right"])
    short = [name.removeprefix("video, ") for name in names]
    lines = [f"| % right | tokens | seconds | {' | '.join(short)} |", "|---|" + "---|" * (len(names) + 2)]
    for each in record["settings"]:
        shares = " | ".join(_percent(each["right"][name]) for name in names)
        lines.append(f"| {each['name']} | {each['tokens']} | {each['seconds']:.3f} | {shares} |")
    return "\n".join(lines)


def misses_of(record: dict[str, Any]) -> str:
    """Says which goals were missed, and by how much."""
    right = {each["name"]: each["right"] for each in record["measures"]}
    missed = [
        f"{name} ({_percent(right[name])} of {_percent(goal)})" for name, goal in GOALS.items() if right[name] < goal
    ]
    for name, (medium, attribute) in BELOW_PROBE.items():
        goal = record["probes"][medium][attribute] - LARGEST_GAP
        if right[name] < goal:
            missed.append(f"{name} ({_percent(right[name])} of {_percent(goal)}, the probe less 5)")
    blind = [
        f"{each['name']} ({_percent(each['blind'])} and {_percent(each['chance'])})"
        for each in record["measures"]
        if abs(each["blind"] - each["chance"]) > 0.05
    ]
    sentences = ["Goals that were missed: " + "; ".join(missed) + "." if missed else "All goals were met."]
    if blind:
        sentences.append("The blind model is further than 5 points from chance in: " + "; ".join(blind) + ".")
    return " ".join(sentences)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"
