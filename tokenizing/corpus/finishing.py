"""What comes after the last unit: the statistics of the whole corpus, and their place in a model's configuration."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from atoken.processing.atomic_files_atoken import atomic_file
from atoken_headers.model_folders import is_model_folder

from ..loading import encoder_fingerprint, load_model
from .commits import TornSidecar, UnitRecord, write_synced
from .plan import Plan
from .statistics import TokenStatistics

STATISTICS, DENSE_STATISTICS = "statistics.json", "latents_stats.pt"
_REASONS = 20  # reasons of failures that the statistics name


def read_records(plan: Plan) -> list[UnitRecord]:
    """
    Reads the records of all units, in order.

    Raises:
        ValueError: a unit is not done, or its sidecar is torn.
    """
    records = [plan.files.read(unit) for unit in range(len(plan.units))]
    missing = [unit for unit, record in enumerate(records) if record is None]
    if missing:
        raise ValueError(
            f"out must hold all {len(records)} units, got {plan.folder} without {len(missing)} of them, the first is "
            f"{missing[0]}; tokenize again to go on"
        )
    return records


def finish(plan: Plan) -> dict[str, Any]:
    """
    Merges what is known of the units, in their order, and writes it as statistics.json; of the safetensors format also
    as latents_stats.pt, which Lightning-DiT reads.

    Returns:
        "units", "rows", "tokens", "bytes", "failures" (how many), "reasons" (of failures, the most frequent), and of
        the tokens "mean" and "std" by channel, or "used" and "perplexity" by codebook.

    Raises:
        ValueError: as `read_records`.
    """
    records = read_records(plan)
    merged: TokenStatistics | None = None
    for record in records:
        if merged is None:
            merged = record.token_statistics()
        else:
            merged.merge(record.token_statistics())
    reasons = Counter(failure["error"] for record in records for failure in record.failures)
    facts = {
        "units": len(records),
        **{name: sum(getattr(record, name) for record in records) for name in ("rows", "tokens", "bytes")},
        "failures": sum(len(record.failures) for record in records),
        "reasons": dict(reasons.most_common(_REASONS)),
        "warnings": sum(record.warnings.get("count", 0) for record in records),
        **merged.summary(),
    }
    write_synced(plan.folder / STATISTICS, json.dumps(facts, indent=1, ensure_ascii=False))
    if plan.options.format == "safetensors" and "mean" in facts:
        both = {name: torch.tensor(facts[name]).float().reshape(1, -1, 1, 1) for name in ("mean", "std")}
        with atomic_file(plan.folder / DENSE_STATISTICS) as temporary:
            torch.save(both, temporary)
    return facts


def is_complete(plan: Plan) -> bool:
    """Tells whether all units are done."""
    try:
        read_records(plan)
    except TornSidecar:
        return False
    except ValueError:
        return False
    return True


def write_into_config(plan: Plan, model: Path) -> None:
    """
    Writes mean and standard deviation of a corpus into the configuration of a model folder, as `latents_mean` and
    `latents_std`, which diffusion pipelines normalize by. Nothing else of the folder changes.

    Args:
        plan: of a complete corpus of latents.
        model: folder of the model that the corpus was made with.

    Raises:
        ValueError: the corpus is not complete or holds codes, the folder is of no AToken model or of another one, or a
            channel does not vary.
    """
    if plan.options.content != "latents":
        raise ValueError(f"out must hold latents for latents_mean and latents_std, got {plan.options.content}")
    facts = finish(plan)
    if "mean" not in facts:
        raise ValueError(f"out must hold tokens, got {plan.folder} without one")
    path = model / "config.json"
    if not is_model_folder(model):
        raise ValueError(f"model must be the folder of an AtokenModel, got {model}")
    # Its encoder's fingerprint is of the weights in the number type that they were used in.
    loaded, planned = load_model(str(model), "cpu", plan.options.dtype), plan.facts["model"]
    found = {"fingerprint": loaded.fingerprint, "encoder": encoder_fingerprint(loaded.model)}
    if found != {name: planned[name] for name in found}:
        raise ValueError(
            f"model must be the one that the corpus was made with, {planned['name']!r} (fingerprint "
            f"{planned['fingerprint']}, encoder {planned['encoder']}), got {loaded.name!r} (fingerprint "
            f"{found['fingerprint']}, encoder {found['encoder']})"
        )
    still = [channel for channel, value in enumerate(facts["std"]) if value <= 0]
    if still:
        raise ValueError(f"out must hold latents that vary, got channel {still[0]} with a standard deviation of 0")
    config = json.loads(path.read_text(encoding="utf-8"))
    config["latents_mean"], config["latents_std"] = facts["mean"], facts["std"]
    write_synced(path, json.dumps(config, indent=2) + "\n")
