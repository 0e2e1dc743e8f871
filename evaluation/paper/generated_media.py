"""Table 13: images and clips of texts by the embedded generator, where the clone has it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from atoken.miniature.captions import full_caption
from atoken.miniature.scenes import Scene
from atoken.miniature.world import MiniatureWorld, draw
from atoken.pages.paper import Shown, TitledTable
from atoken.pages.picture_grid import picture_grid
from atoken.pages.report import Table

from ..models.atoken_tokenizers import AtokenEmbedder
from ..models.media_generator_loading import load_media_generator
from .drawings import png
from .parts import Part
from .protocol import facts_text
from .reconstruction_config import CONTINUOUS
from .section import Real
from .workspace import Workspace
from .zero_shot import PROTOCOL, chances, shares_right

NAME = "text-to-media-tiny"
SIZE, FRAMES, SEED, WORLD_SEED = 64, 16, 0, 21
BATCH = 8
CLIPS_SHARE = 4  # a clip takes as long as this many images
RECORD = "training.json"
COLUMNS = ("color", "shape", "pair", "motion")
SHOWN_IMAGES, SHOWN_CLIPS, SHOWN_FRAMES = 16, 4, [0, 5, 10, 15]


def make(workspace: Workspace) -> Part:
    """Makes Table 13."""
    loaded = load_media_generator(workspace.checkpoint(NAME), "cpu")
    embedder = AtokenEmbedder(workspace.checkpoint(CONTINUOUS), video="whole")
    images, clips = workspace.counts.generated // 2, max(1, workspace.counts.generated // (2 * CLIPS_SHARE))
    rows, shown = [], []
    for kind, count in (("image", images), ("video", clips)):
        scenes = held_out_scenes(kind, count)
        workspace.progress(f"{count} {kind}s of {NAME}")
        made = sampled(loaded.pipeline, [full_caption(scene) for scene in scenes], kind)
        true = [frames if kind == "video" else frames[None] for frames in (draw(one, SIZE, FRAMES) for one in scenes)]
        for title, each in ((f"{kind}s of {NAME}", made), (f"true {kind}s", true)):
            found = shares_right(each, scenes, embedder)
            rows.append([title, *(_percent(found.get(name)) for name in COLUMNS), str(count)])
        rows.append([f"chance of {kind}s", *(_percent(chances(kind == "video").get(name)) for name in COLUMNS), ""])
        shown.append(_picture(kind, made))
    measured = (
        f"{images} images and {clips} clips of {FRAMES} frames, 64 x 64, of captions whose pairs of color and shape no "
        "training has seen. Shares that are right stand in the place of CLIP score, GenEval and VBench, whose networks "
        "and prompts know another world."
    )
    facts = {"model": loaded.name, "fingerprint": loaded.fingerprint, "seed": SEED, "captions": f"world {WORLD_SEED}"}
    table = Table(["made of captions", *(f"{name} right %" for name in COLUMNS), "count"], rows)
    tables = [TitledTable("Captions of the miniature world, zero-shot", table)]
    protocol = [facts_text(facts), PROTOCOL]
    path = Path(workspace.checkpoint(NAME)) / RECORD
    if path.is_file():
        record = json.loads(path.read_text(encoding="utf-8"))
        tables.append(TitledTable("By networks trained on true scenes, from the training record", judged(record)))
        protocol.append(f"training record: {record['protocol']}")
    return Part(measured, tables, shown, protocol)


def judged(record: dict[str, Any]) -> Table:
    """Tabulates what a training record says of images and clips."""
    parts = {"samples": "samples", "ceiling": "true scenes through the tokenizer", "chance": "chance"}
    rows = []
    for kind in ("image", "video"):
        for part, of in parts.items():
            found = record[kind][part]
            count = str(found["count"]) if "count" in found else ""
            rows.append([f"{kind}s, {of}", *(_percent(found.get(name)) for name in COLUMNS), count])
    return Table(["made of captions", *(f"{name} right %" for name in COLUMNS), "count"], rows)


def held_out_scenes(kind: str, count: int) -> list[Scene]:
    """Gives scenes with pairs of color and shape that training left out."""
    world = MiniatureWorld(kind, "held_out", count, WORLD_SEED, SIZE, FRAMES)
    return [world.describe(index)[0] for index in range(count)]


def sampled(pipeline: Any, captions: list[str], kind: str) -> list[torch.Tensor]:
    """Makes images or clips, each of which depends on the seed and its number alone: (T, 3, H, W) uint8 each."""
    made: list[torch.Tensor] = []
    for start in range(0, len(captions), BATCH):
        texts = captions[start : start + BATCH]
        states = [np.random.SeedSequence([SEED, start + place]).generate_state(1)[0] for place in range(len(texts))]
        generators = [torch.Generator().manual_seed(int(state)) for state in states]
        frames = FRAMES if kind == "video" else 1
        found = pipeline(texts, num_frames=frames, generator=generators, output_type="pt")
        pixels = found.frames if kind == "video" else found.images[:, None]
        made += list((pixels * 255).round().to(torch.uint8).cpu())
    return made


def real() -> Real:
    """Says what Table 13 needs."""
    return Real(
        "accelerate launch -m atoken.training.generators.text_to_media.train "
        "training/generators/text_to_media/stages/images-256.yaml ..., then videos-192x336.yaml (docs/generation.md)",
        "the authors' captioned images and videos, which they do not name; networks and prompts of CLIP score, "
        "PickScore, GenEval and VBench, which this project does not run",
        "not known: the paper states neither the size of the generator nor its steps",
    )


def _picture(kind: str, made: list[torch.Tensor]) -> Shown:
    if kind == "image":
        grid = picture_grid(torch.cat(made[:SHOWN_IMAGES]), 8)
    else:
        grid = picture_grid(torch.cat([clip[SHOWN_FRAMES] for clip in made[:SHOWN_CLIPS]]), len(SHOWN_FRAMES))
    title = "images" if kind == "image" else "clips, a row each"
    return Shown(png(grid), "made of captions", f"{title} that were generated", title)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"
