"""What a pipeline has to know of a training's latents, in a file beside the weights."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from atoken.processing.atomic_files_atoken import atomic_file

STATISTICS = "statistics.json"


def write_statistics(folder: Path, statistics: Mapping[str, Any]) -> None:
    """Writes statistics by the names of `TextToMediaPipeline`'s arguments."""
    with atomic_file(folder / STATISTICS) as temporary:
        temporary.write_text(json.dumps(dict(statistics), indent=1) + "\n", encoding="utf-8")


def read_statistics(folder: Path) -> dict[str, Any]:
    """
    Reads what `TextToMediaPipeline` takes by these names.

    Raises:
        FileNotFoundError: the folder has none.
    """
    path = folder / STATISTICS
    if not path.is_file():
        raise FileNotFoundError(f"folder must be one that a training has written, got {folder} without {STATISTICS}")
    return json.loads(path.read_text(encoding="utf-8"))
