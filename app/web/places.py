"""Folders for what the server writes for its visitors; old ones are removed."""

import shutil
import tempfile
import time
from pathlib import Path

KEPT_SECONDS = 1800.0


class Places:
    """
    Hands out empty folders inside of one, which the server removes when it ends.

    Args:
        root: an existing folder.
    """

    def __init__(self, root: Path):
        self.root = root

    def new(self) -> Path:
        """Makes an empty folder, and removes those that nobody looks at any more."""
        for folder in self.root.iterdir():
            if time.time() - folder.stat().st_mtime > KEPT_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)
        return Path(tempfile.mkdtemp(dir=self.root))
