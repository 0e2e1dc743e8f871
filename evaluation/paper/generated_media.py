"""Table 13: images and clips of texts by the embedded generator, where the clone has it."""

import json
from pathlib import Path
from typing import Any

import torch

from atoken.pages.paper import Shown, TitledTable
from atoken.pages.picture_grid import picture_grid
from atoken.pages.report import Table

from ..caption_measures import WORD_PREFIXES, WORDS_RIGHT, WORDS_ZERO_SHOT
from ..captions import MADE, made_path
from ..metrics.prompt_scores import CLIP_SCORE, PICK_SCORE
from ..results import Result
from ..sample_files import read_reconstruction
from .drawings import png
from .parts import Part
from .protocol import facts_text
from .reconstruction_config import CONTINUOUS
from .section import Real
from .workspace import Workspace

NAME = "text-to-media-tiny"
CEILING = f"true scenes through {CONTINUOUS}"
SIZE, FRAMES, SEED, WORLD_SEED = 64, 16, 0, 21
CLIPS_SHARE = 4  # a clip takes as long as this many images
RECORD = "training.json"
COLUMNS = ("color", "shape", "pair", "motion")
TOLD_BY = {
    WORDS_RIGHT: "by networks trained on true scenes",
    WORDS_ZERO_SHOT: f"zero-shot, by the text tower of {CONTINUOUS}",
}
SCORES = {CLIP_SCORE: "CLIP-Score ↑", PICK_SCORE: "PickScore ↑"}
SHOWN = {"image": 16, "video": 4}
SHOWN_FRAMES = [0, 5, 10, 15]


def make(workspace: Workspace) -> Part:
    """Makes Table 13."""
    generator, tokenizer = workspace.checkpoint(NAME), workspace.checkpoint(CONTINUOUS)
    images, clips = workspace.counts.generated // 2, max(1, workspace.counts.generated // (2 * CLIPS_SHARE))
    scores, missing = workspace.measures_at_hand(*SCORES)
    config = {
        "measures": [*TOLD_BY, *scores],
        "weights": {WORDS_ZERO_SHOT: tokenizer},
        "sets": {kind: _set(kind, count) for kind, count in (("image", images), ("video", clips))},
        "tokenizers": {CEILING: {"adapter": "atoken", "model": tokenizer}},
        "generators": {NAME: {"adapter": "text-to-media", "model": generator, "frames": FRAMES, "seed": SEED}},
    }
    results = workspace.evaluate("text-to-media", **config)
    made = workspace.evaluation_file("text-to-media", **config).parent / "run" / MADE / NAME
    tables = [TitledTable(f"Held-out captions, {by}", told_table(results, by_whom)) for by_whom, by in TOLD_BY.items()]
    if scores:
        tables.append(TitledTable("Scores of captions of the miniature world", _score_table(results, scores)))
    measured = (
        f"{images} images and {clips} clips of {FRAMES} frames, {SIZE} x {SIZE}, of captions whose pairs of color and "
        "shape no training has seen. Shares that are right stand in the place of GenEval and VBench, whose prompts are "
        "of another world."
    )
    facts = {"captions": f"world {WORLD_SEED}", **results[-1].protocol["model"]}
    protocol = [facts_text(facts), facts_text(results[-1].protocol["measured_by"])]
    path = Path(generator) / RECORD
    if path.is_file():
        record = json.loads(path.read_text(encoding="utf-8"))
        tables.append(TitledTable("More of them, from the training record", judged(record)))
        protocol.append(f"training record: {record['protocol']}")
    return Part(
        measured, tables, [_picture(kind, made / kind, count) for kind, count in SHOWN.items()], protocol, missing
    )


def _set(kind: str, count: int) -> dict[str, Any]:
    options = {"kind": kind, "count": count, "seed": WORLD_SEED, "size": SIZE, "frames": FRAMES}
    return {"set": "miniature-captions", "task": "captions", **options}


def told_table(results: list[Result], measure: str) -> Table:
    """
    Tabulates shares that are right, of images and of clips, with chance.

    Args:
        results: of generator and ceiling on both sets.
        measure: who has told what is shown.
    """
    rows = []
    for kind in ("image", "video"):
        own = sorted((one for one in results if one.set == kind), key=lambda one: one.model != NAME)
        for one in own:
            shares = (one.numbers.get(f"{WORD_PREFIXES[measure]}{name}") for name in COLUMNS)
            rows.append([f"{kind}s, {one.model}", *map(_percent, shares), str(one.numbers["count"])])
        rows.append([f"{kind}s, chance", *(_percent(own[0].numbers["chances"].get(name)) for name in COLUMNS), ""])
    return Table(["made of captions", *(f"{name} right %" for name in COLUMNS), "count"], rows)


def _score_table(results: list[Result], scores: list[str]) -> Table:
    rows = [
        [f"{one.set}s, {one.model}", *(f"{one.numbers[score.replace('-', '_')]:.2f}" for score in scores)]
        for one in results
    ]
    return Table(["made of captions", *(SCORES[score] for score in scores)], rows)


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


def real() -> Real:
    """Says what Table 13 needs."""
    return Real(
        "accelerate launch -m atoken.training.generators.text_to_media.train "
        "training/generators/text_to_media/stages/images-256.yaml ..., then videos-192x336.yaml (docs/generation.md); "
        "then `atoken evaluate examples/evaluation/table_13.yaml` (examples/evaluation/text_to_media.md)",
        "the authors' captioned images and videos, which they do not name; networks of CLIP-Score and PickScore; "
        "GenEval and VBench in environments of their own, whose files `atoken evaluate` reads",
        "not known: the paper states neither the size of the generator nor its steps",
    )


def _picture(kind: str, made: Path, count: int) -> Shown:
    paths = [path for path in (made_path(made, f"{index:05d}", kind) for index in range(count)) if path.is_file()]
    media = [read_reconstruction(path) for path in paths]
    if kind == "image":
        grid = picture_grid(torch.cat(media), 8)
    else:
        grid = picture_grid(torch.cat([clip[SHOWN_FRAMES] for clip in media]), len(SHOWN_FRAMES))
    title = "images" if kind == "image" else "clips, a row each"
    return Shown(png(grid), "made of captions", f"{title} that were generated", title)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"
