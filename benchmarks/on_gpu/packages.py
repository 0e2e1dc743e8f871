"""The packages that parts need: looked at first, so that no time of a lent machine is spent without them."""

import importlib.metadata
from collections.abc import Iterable

from packaging.version import Version

# As in setup.py.
OLDEST = {
    "torch": "2.11",
    "torchvision": "0.26",
    "transformers": "5.23",
    "av": "17",
    "diffusers": "0.41",
    "lpips": "0.1.4",
    "torchmetrics": "1.6",
}
ALWAYS = ("torch", "torchvision", "transformers")
OF_PARTS = {"training": ("av", "lpips", "torchmetrics"), "wan": ("diffusers",)}


def check_packages(parts: Iterable[str]) -> None:
    """
    Checks that all packages are there that parts cannot do without, in the versions that the project asks for.

    Args:
        parts: names of those that shall run.

    Raises:
        ImportError: naming all that are missing or too old, or what this project cannot be imported for.
    """
    needed = [*ALWAYS, *(name for part in parts for name in OF_PARTS.get(part, ()))]
    wrong = []
    for name in needed:
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found = None
        if found is None or Version(found) < Version(OLDEST[name]):
            wrong.append(f"{name} must be {OLDEST[name]} or newer, got {found or 'none'}")
    remedy = "bring wheels along as benchmarks/README.md says, or leave parts out with --parts"
    if wrong:
        raise ImportError(f"{', '.join(wrong)}; {remedy}")
    try:
        import atoken  # noqa: F401
    except ImportError as error:
        raise ImportError(f"packages must be those that atoken can be imported with, got {error}; {remedy}") from error
