"""The protocol of results of the harness, in lines that stand below their tables."""

from collections.abc import Iterable
from typing import Any

from ..results import Result

_LIBRARIES = "libraries"


def protocol_lines(results: Iterable[Result]) -> list[str]:
    """Says of each set how its samples are made, of each model what it is, and the versions of libraries."""
    sets: dict[str, str] = {}
    models: dict[str, None] = {}
    libraries: dict[str, str] = {}
    for result in results:
        facts = result.protocol["set"]
        count = result.numbers.get("count")
        measured = f"; measures: {', '.join(result.protocol['measures'])}" if result.protocol.get("measures") else ""
        sets[result.set] = (
            f"{result.set} ({result.task}, {count} samples): {facts_text(facts['protocol'])}{measured}; "
            f"checksum {facts['checksum'][:12]}"
        )
        models[f"{result.model}: {facts_text(result.protocol['model'])}"] = None
        libraries |= result.protocol[_LIBRARIES]
    return [*sets.values(), *models, f"{_LIBRARIES}: {facts_text(libraries)}"]


def facts_text(facts: dict[str, Any]) -> str:
    """Writes facts as "name: value; name: value"."""
    return "; ".join(f"{name}: {value}" for name, value in facts.items())
