"""Where the files are that come with the package: weights of the tiny models, and media to try them on.

In a clone they lie in folders of its top level. In a wheel these folders are packages beside this one, which setup.py
names, and hold only what everybody needs.
"""

from pathlib import Path

_PACKAGES = Path(__file__).resolve().parent.parent


def shipped(folder: str, package: str) -> Path:
    """
    Finds a folder that comes with the package.

    Args:
        folder: where it is in a clone.
        package: what it is in a wheel.
    """
    installed = _PACKAGES / package
    return installed if installed.is_dir() else _PACKAGES / folder


# The embedded checkpoints, which are known by their names.
CHECKPOINTS = shipped("checkpoints", "atoken_checkpoints")
EXAMPLE_MEDIA = shipped("examples/media", "atoken_media")
