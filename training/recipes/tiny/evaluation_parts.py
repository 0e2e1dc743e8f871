"""Parts of the harness's files of this recipe, for runs after which only some numbers can have changed."""

from pathlib import Path

import yaml

from ..text_files import write_text


def drop_understanding(template: Path) -> list[str]:
    """Takes the sets of understanding out of one of the harness's files; gives their names."""
    return _drop(template, understood=True, measured="embedders")


def drop_reconstruction(template: Path) -> list[str]:
    """Takes the sets of reconstruction out of one of the harness's files; gives their names."""
    return _drop(template, understood=False, measured="tokenizers")


def _drop(template: Path, understood: bool, measured: str) -> list[str]:
    values = yaml.safe_load(template.read_text(encoding="utf-8"))
    values.pop(measured, None)
    dropped = [name for name, entry in values["sets"].items() if ("task" in entry) == understood]
    values["sets"] = {name: entry for name, entry in values["sets"].items() if name not in dropped}
    write_text(template, yaml.safe_dump(values, sort_keys=False))
    return dropped
