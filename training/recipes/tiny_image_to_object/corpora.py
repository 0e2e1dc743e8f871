"""What the generators learn of: a corpus of objects' latents, what is seen of their pictures, and their structures."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from atoken.generation.object_conditions_atoken import picture_condition
from atoken.generation.object_pictures_atoken import training_picture
from atoken.tokenizing.corpus.finishing import finish
from atoken.tokenizing.corpus.options import TokenizeOptions
from atoken.tokenizing.corpus.plan import make_plan
from atoken.tokenizing.corpus.reading import AtokenTokens
from atoken.tokenizing.corpus.sources import CorpusSource, SourceRow, Unit, ranges
from atoken.tokenizing.corpus.work import DamagedUnit, work
from atoken.tokenizing.loading import LoadedModel

from ...generators.image_to_object.conditions import condition_facts
from ...generators.image_to_object.features import write_features
from ...generators.image_to_object.rows import ObjectRows
from .objects import PICTURE_SIZE, condition_views, token_views
from .recoloring import recolored

VIEWS = 6  # pictures of each object
_UNIT_ROWS = 32


class MiniatureObjects(CorpusSource):
    """Gives the first objects of a split; their keys are their numbers."""

    def __init__(self, split: str, count: int):
        self.split, self.count = split, count

    def facts(self) -> dict[str, Any]:
        return {"from": "miniature", "split": self.split, "rows": self.count}

    def units(self, rows: int) -> list[Unit]:
        return ranges(self.count, rows)

    def rows(self, unit: Unit) -> Iterator[SourceRow]:
        for place in range(unit["rows"]):
            index = unit["first"] + place
            yield SourceRow(place, f"{index:06d}", token_views(self.split, index))


def write_corpus(split: str, count: int, tokenizer: LoadedModel, out: Path) -> Iterator[int]:
    """
    Writes the latents of objects as `atoken tokenize` does; goes on where it was stopped.

    Yields:
        The rows of each unit that is done.

    Raises:
        ValueError: an object cannot be used.
    """
    options = TokenizeOptions(kind="object", batch_tokens=8192, unit_rows=_UNIT_ROWS)
    source = MiniatureObjects(split, count)
    plan = make_plan(f"/miniature/{split}", out, options, tokenizer, source)  # no folder, but the same everywhere
    for record in work(plan, tokenizer, source):
        if isinstance(record, DamagedUnit):
            raise ValueError(f"objects must be whole, got {record}")
        yield record.rows
    finish(plan)


def write_conditions(
    rows: ObjectRows, split: str, tokenizer: LoadedModel, out: Path, recolor: bool = False
) -> Iterator[int]:
    """
    Writes what the tokenizer's own encoder sees of each object's pictures, or of recolored ones.

    Yields:
        How many objects are done.
    """

    @torch.no_grad()
    def compute(row: int) -> torch.Tensor:
        pictures, _ = condition_views(split, int(rows.key(row)), VIEWS)
        if recolor:
            numbers = torch.Generator().manual_seed(row)
            pictures = [recolored(picture, numbers) for picture in pictures]
        placed = torch.stack([torch.from_numpy(training_picture(each, PICTURE_SIZE)) for each in pictures])
        return picture_condition(placed, None, tokenizer.model).to(torch.bfloat16)  # (V, M, c)

    facts = condition_facts(rows, None, tokenizer, PICTURE_SIZE)
    if recolor:
        facts["recolored"] = True
    yield from write_features(out, facts, len(rows), compute)


def open_rows(corpus: Path, tokenizer: LoadedModel) -> ObjectRows:
    """Opens a corpus that `write_corpus` has written."""
    return ObjectRows(AtokenTokens(corpus, normalize=False), tokenizer)
