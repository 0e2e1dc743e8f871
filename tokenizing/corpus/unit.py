"""The work on one unit: its rows decoded, encoded and written, and the unit committed."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from queue import Queue
from typing import TYPE_CHECKING

from .arrow import import_arrow
from .commits import UnitRecord
from .decoders import Decoders
from .encoding import EncodedRow
from .models import CorpusModel, new_encoder
from .parts import PartWriter, new_writer
from .plan import Plan, load_planned_model, read_plan
from .sources import CorpusSource, SourceRow
from .statistics import TokenStatistics

if TYPE_CHECKING:
    import pyarrow as pa

_WAITING_ROWS = 256  # encoded, for the thread that writes
_NAMED = 20  # texts of warnings in a sidecar


def encode_unit(
    plan: Plan | str | Path,
    unit: int,
    device: str = "auto",
    loaded: CorpusModel | None = None,
    source: CorpusSource | None = None,
    decoders: Decoders | None = None,
) -> UnitRecord:
    """
    Encodes a unit of a corpus and commits it, whether or not it was done before; two processes write the same bytes.

    Args:
        plan: of the corpus, or its folder.
        unit: number of the unit.
        device: "auto", "cpu" or "cuda".
        loaded: the model, if the caller has it; else it is loaded, and kept for the next unit of this process.
        source: the source, if the caller has it open.
        decoders: what decodes; by default threads of this process.

    Raises:
        ValueError: the unit as a whole is damaged, or model or source are not those of the plan. (A row that cannot be
            used is recorded with its reason in place of being raised.)
        LostUnit: another worker has taken the unit over.
        OSError: the disk is full, or the machine has run out of something else. Nothing half-written stays behind.
    """
    plan = plan if isinstance(plan, Plan) else read_plan(plan)
    if not 0 <= unit < len(plan.units):
        raise ValueError(f"unit must be in [0, {len(plan.units)}), got {unit}")
    loaded = loaded or _kept_model(plan.folder, device)
    source = source or _kept_source(plan.folder)
    encoder = new_encoder(loaded, plan.options)
    with ExitStack() as stack:
        decoders = decoders or stack.enter_context(Decoders())
        read = _Counted(_with_labels(source.rows(plan.units[unit]), plan))
        encoded = encoder.encode(decoders.decode(read, plan.options, encoder.patch, encoder.voxelizer))
        return write_unit(plan, unit, encoded, read, column_types(plan, source))


@lru_cache(1)
def _kept_model(folder: Path, device: str) -> CorpusModel:
    return load_planned_model(read_plan(folder), device)


@lru_cache(1)
def _kept_source(folder: Path) -> CorpusSource:
    return read_plan(folder).open_source()


class _Counted:
    """Counts the rows that were read."""

    def __init__(self, rows: Iterable[SourceRow]):
        self.rows, self.count = rows, 0

    def __iter__(self) -> Iterator[SourceRow]:
        for row in self.rows:
            self.count += 1
            yield row


def _with_labels(rows: Iterable[SourceRow], plan: Plan) -> Iterator[SourceRow]:
    """Refuses rows without a label where all must have one."""
    for row in rows:
        if plan.options.format == "safetensors" and row.error is None and row.columns.get("label") is None:
            row = replace(row, error="the row has no label, which this format needs")
        yield row


def column_types(plan: Plan, source: CorpusSource) -> "dict[str, pa.DataType]":
    """Gives the types of kept columns: those of the source, integers for "label", and text where it states none."""
    if plan.options.format != "parquet":
        return {}
    pa, _ = import_arrow()
    fixed = {"label": pa.int64(), "caption": pa.string()}
    return {
        name: fixed.get(name) or source.column_type(column) or pa.string() for name, column in plan.options.keep.items()
    }


def write_unit(
    plan: Plan, unit: int, rows: Iterable[EncodedRow], read: _Counted, types: "dict[str, pa.DataType]"
) -> UnitRecord:
    """
    Writes encoded rows as the part of a unit and commits it; the writing is done by a thread beside the encoding.

    Args:
        plan: of the corpus.
        unit: number of the unit.
        rows: in order.
        read: counts the rows of the source.
        types: of the kept columns.

    Raises:
        LostUnit: another worker has taken the unit over.
        OSError: the disk is full.
    """
    files, model = plan.files, plan.facts["model"]
    if plan.options.content == "codes":
        statistics = TokenStatistics.of_codes(model["codebooks"], model["entries"])
    else:
        statistics = TokenStatistics.of_latents(model["channels"])
    record = UnitRecord(unit, rows=0, source_rows=0, tokens=0, bytes=0, sha256="")
    warned: list[str] = []
    with files.new_part(unit) as temporary:
        try:
            writer = new_writer(temporary, plan.options, plan.header(unit), types)
            with _Writing(writer, statistics) as writing:
                for row in rows:
                    warned += row.warnings
                    if row.error is not None:
                        record.failures.append({"key": row.key, "error": row.error})
                    else:
                        record.rows += 1
                        record.tokens += len(row.values)
                        writing.put(row)
            record.source_rows, record.statistics = read.count, statistics.as_json()
            record.warnings = {"count": len(warned), "first": warned[:_NAMED]} if warned else {}
            files.commit(temporary, record)
        except OSError as error:
            if error.filename is None and error.errno is not None:
                raise OSError(error.errno, f"{error.strerror}, at unit {unit}", str(files.part(unit))) from error
            raise
    return record


class _Writing:
    """Writes rows and adds them to the statistics in a thread of its own; its errors are raised where rows are put."""

    def __init__(self, writer: PartWriter, statistics: TokenStatistics):
        self.writer, self.statistics = writer, statistics
        self._queue: Queue[EncodedRow | None] = Queue(_WAITING_ROWS)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while (row := self._queue.get()) is not None:
            if self._error is not None:
                continue  # so that nobody waits for room in the queue
            try:
                self.writer.write(row)
                self.statistics.add(row.values)
            except BaseException as error:
                self._error = error

    def put(self, row: EncodedRow) -> None:
        if self._error is not None:
            raise self._error
        self._queue.put(row)

    def __enter__(self) -> "_Writing":
        self._thread.start()
        return self

    def __exit__(self, kind, error, traceback) -> None:
        self._queue.put(None)
        self._thread.join()
        failed = kind is not None or self._error is not None
        (self.writer.abort if failed else self.writer.close)()
        if kind is None and self._error is not None:
            raise self._error
