"""A worker: it takes the units that nobody has done and nobody else is at, and does them one after another."""

from collections.abc import Iterator

from .commits import LostUnit, UnitRecord
from .decoders import Decoders
from .leases import sweep_leases, take_lease
from .models import CorpusModel
from .plan import Plan
from .sources import CorpusSource
from .unit import encode_unit


class DamagedUnit(ValueError):
    """Says that a unit as a whole cannot be read; other units can."""


def work(
    plan: Plan,
    loaded: CorpusModel,
    source: CorpusSource,
    shard: int = 0,
    shards: int = 1,
    decoding_processes: int = 0,
) -> Iterator[UnitRecord | DamagedUnit]:
    """
    Does units until none is left: first those of its own shard, then those that other workers have not begun.

    Args:
        plan: of the corpus.
        loaded: the model.
        source: the source.
        shard, shards: this worker begins with units `shard`, `shard + shards` and so on.
        decoding_processes: see `Decoders`.

    Yields:
        The record of each unit that it has done, or what is wrong with one as a whole.

    Raises:
        OSError: the disk is full, or the machine has run out of something else.
    """
    if not 0 <= shard < shards:
        raise ValueError(f"shard must be in [0, {shards}), got {shard}")
    files = plan.files
    _sweep(plan)
    with Decoders(decoding_processes) as decoders:
        for unit in sorted(range(len(plan.units)), key=lambda unit: ((unit - shard) % shards, unit)):
            if files.is_committed(unit):
                continue
            lease = take_lease(plan.folder, unit)
            if lease is None:
                continue
            with lease:
                # It may have been done between the two questions.
                if files.is_committed(unit):
                    continue
                files.sweep(unit)
                try:
                    record = encode_unit(plan, unit, loaded=loaded, source=source, decoders=decoders)
                except LostUnit:
                    continue
                except ValueError as error:
                    record = DamagedUnit(f"unit {unit}: {error}")
            yield record


def _sweep(plan: Plan) -> None:
    """Removes what killed workers have left, but of units that are not done: whoever takes one looks after it."""
    sweep_leases(plan.folder)
    left = {path.name.split(".")[1].removeprefix("part-") for path in plan.folder.glob(".part-*")}
    for unit in map(int, filter(str.isdecimal, left)):
        if plan.files.is_committed(unit):
            plan.files.sweep(unit)
