"""Files that the flat folders hold twice, as the Hub copies the folders apart from each other."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_both_copies_are_equal():
    copies = [ROOT / folder / "atomic_files_atoken.py" for folder in ("modeling_atoken", "processing")]
    assert copies[0].read_bytes() == copies[1].read_bytes()
