"""Whether a corpus is what its plan says: every unit whole, every row there, and its tokens those of the media."""

import tarfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open

from ..quality import psnr
from .arrow import import_arrow
from .commits import TornSidecar, UnitRecord, sha256_of
from .decoding import DecodedRow, decode_row
from .encoding import RowEncoder
from .models import CorpusModel, new_encoder
from .plan import Plan
from .reading import AtokenTokens, stored_tensors
from .sources import CorpusSource, SourceRow

# bfloat16 keeps 8 bits, and kernels of another machine may round otherwise.
_LATENTS_TOLERANCE, _CODES_TOLERANCE = 0.02, 0.02


@dataclass
class DecodedCheck:
    """
    Holds how a row compares with its original.

    Attributes:
        key: of the row.
        flipped: whether it is the mirror image.
        difference: from tokens that are encoded now: root mean square of latents, by that of all; or share of codes.
            None if the original cannot be encoded.
        psnr: of what the stored tokens decode to and the original, in decibels; None of objects and of equal pixels.
    """

    key: str
    flipped: bool
    difference: float | None
    psnr: float | None


@dataclass
class Verification:
    """
    Holds what was found.

    Attributes:
        units, rows, failures: how many were checked, and rows that the sidecars record as failures.
        problems: what is wrong, in words; empty for a corpus in order.
        decoded: rows that were compared with their originals.
    """

    units: int = 0
    rows: int = 0
    failures: int = 0
    problems: list[str] = field(default_factory=list)
    decoded: list[DecodedCheck] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Gives all of it."""
        return asdict(self)


def verify(plan: Plan, progress: Callable[[int, int], None] | None = None) -> Verification:
    """
    Checks every unit: that it is done, that the part has the checksum and the rows that the sidecar says, and that all
    rows of the source are in it or among its failures.

    Args:
        plan: of the corpus.
        progress: is called with the units checked and their number.
    """
    found = Verification(units=len(plan.units))
    for unit, about in enumerate(plan.units):
        try:
            record = plan.files.read(unit)
            if record is None:
                found.problems.append(f"unit {unit} is not done; tokenize again to go on")
            else:
                found.rows += record.rows
                found.failures += len(record.failures)
                found.problems += _problems(plan, record, about["rows"])
        except TornSidecar as error:
            found.problems.append(str(error))
        if progress is not None:
            progress(unit + 1, len(plan.units))
    for path in plan.folder.glob("part-*"):
        number = path.stem.removeprefix("part-")
        if not number.isdecimal() or int(number) >= len(plan.units):
            found.problems.append(f"{path} belongs to no unit of the plan; remove it")
    return found


def _problems(plan: Plan, record: UnitRecord, planned: int | None) -> list[str]:
    path, problems = plan.files.part(record.unit), []
    if sha256_of(path) != record.sha256:
        problems.append(
            f"{path} has another checksum than when it was written; remove {plan.files.sidecar(record.unit).name} and "
            "tokenize again"
        )
    if planned is not None and record.source_rows != planned:
        problems.append(f"{path} was made from {record.source_rows} rows, but the plan has {planned}")
    expected = (record.source_rows - len(record.failures)) * (1 + plan.options.flip)
    if record.rows != expected:
        problems.append(f"{path} should have {expected} rows by its sidecar, which says {record.rows}")
    if not problems and (rows := _rows_of(plan, path)) != record.rows:
        problems.append(f"{path} has {rows} rows, but its sidecar says {record.rows}")
    return problems


def _rows_of(plan: Plan, path: Path) -> int:
    """Counts the rows of a part by the part itself."""
    if plan.options.format == "parquet":
        return import_arrow()[1].read_metadata(path).num_rows
    if plan.options.format == "webdataset":
        with tarfile.open(path) as tar:
            return sum(member.name.endswith(".safetensors") for member in tar)
    with safe_open(path, framework="pt") as file:
        return sum(file.get_slice(name).get_shape()[0] for name in ("latents", "latents_flip"))


def compare_with_originals(
    plan: Plan, loaded: CorpusModel, source: CorpusSource, count: int, found: Verification
) -> None:
    """
    Encodes the originals of some rows, evenly over the corpus, again and compares; what differs is a problem.

    Args:
        plan: of a complete corpus of the parquet format.
        loaded: its model.
        source: its source.
        count: of rows.
        found: takes the results.

    Raises:
        ValueError: the corpus is not complete, or of another format.
    """
    tokens = AtokenTokens(plan.folder, normalize=False)
    encoder = new_encoder(loaded, plan.options)
    chosen = np.unique(np.linspace(0, len(tokens) - 1, min(count, len(tokens))).round().astype(int))
    wanted: dict[int, dict[int, int]] = {}  # unit -> place in the unit -> index
    for index in chosen.tolist():
        row = tokens.row(index)
        # A picture may be chosen twice, once mirrored: one of them is enough.
        wanted.setdefault(row["unit"], {})[row["row"]] = index
    for unit, places in wanted.items():
        for original in source.rows(plan.units[unit]):
            if original.index in places:
                row = tokens.row(places.pop(original.index))
                check = _compare(plan, encoder, row, original)
                found.decoded.append(check)
                limit = _CODES_TOLERANCE if plan.options.content == "codes" else _LATENTS_TOLERANCE
                if check.difference is None or not check.difference <= limit:
                    by = "much" if check.difference is None else f"{check.difference:.1%}"
                    found.problems.append(
                        f"the tokens of {check.key!r} differ from those of its original by {by}; the original has "
                        "changed or is gone, or the corpus is damaged"
                    )
            if not places:
                break


def _compare(plan: Plan, encoder: RowEncoder, facts: dict[str, Any], original: SourceRow) -> DecodedCheck:
    stored = stored_tensors(facts, plan.facts["model"]["dtype"])
    decoded = decode_row(original, plan.options, encoder.patch, encoder.voxelizer)
    fresh = next((row for row in encoder.encode([decoded]) if row.flipped == facts["flipped"]), None)
    if fresh is None or fresh.error is not None or len(fresh.values) != facts["tokens"]:
        return DecodedCheck(facts["key"], facts["flipped"], None, None)
    values = stored[plan.options.content].flatten(0, -2)
    if plan.options.content == "codes":
        difference = float((values != fresh.values).float().mean())
    else:
        now = fresh.values.float()
        difference = float((values.float() - now).square().mean().sqrt() / now.square().mean().sqrt().clamp(min=1e-9))
    decibels = None
    if decoded.pixels is not None:
        decibels = _psnr(encoder, stored[plan.options.content], decoded, facts["flipped"])
    return DecodedCheck(facts["key"], facts["flipped"], difference, decibels)


def _psnr(encoder: RowEncoder, values: torch.Tensor, decoded: DecodedRow, flipped: bool) -> float | None:
    """Of what tokens (t, h, w, ...) decode to, and the original."""
    height, width = decoded.size
    original = decoded.pixels[:, :, :height, :width]
    pixels = encoder.decode(values, decoded.size)
    result = psnr(pixels[: len(original)], original.flip(-1) if flipped else original)
    return None if result == float("inf") else result
