"""Fetches the common tests of the installed transformers, which only its source distribution carries.

They are data for the tests of this folder: unpacked outside of version control, never copied into the repository.
"""

import shutil
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path

CACHE = Path(__file__).parents[3] / ".conformance"


def unpacked_tests() -> Path:
    """Where the tests of the installed version are, once fetched."""
    return CACHE / f"transformers-{version('transformers')}" / "tests"


def fetch() -> None:
    """Downloads and unpacks them, unless they are there."""
    folder = unpacked_tests()
    if folder.is_dir():
        return
    CACHE.mkdir(exist_ok=True)
    release = folder.parent.name
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        # pip asks a source distribution for its name by running its build; without isolation that needs no download.
        options = ["--quiet", "--no-binary", ":all:", "--no-deps", "--no-build-isolation", "--dest", scratch]
        requirement = f"transformers=={version('transformers')}"
        subprocess.run([sys.executable, "-m", "pip", "download", *options, requirement], check=True)
        with tarfile.open(Path(scratch) / f"{release}.tar.gz") as archive:
            members = [member for member in archive if member.name.startswith(f"{release}/tests/")]
            archive.extractall(scratch, members, filter="data")
        # One of the tests executes the folder as a package.
        (Path(scratch) / release / "tests" / "__init__.py").touch()
        shutil.rmtree(folder.parent, ignore_errors=True)
        # Last and at once, so that a folder that is there is whole.
        (Path(scratch) / release).rename(folder.parent)


if __name__ == "__main__":
    fetch()
