"""Text files of a recipe, such as records and cards, that appear whole or not at all."""

from pathlib import Path

from atoken.processing.atomic_files_atoken import atomic_file


def write_text(path: Path, text: str) -> None:
    """Writes a text file in UTF-8, and replaces what was there."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
