"""Which files another file may lead to: those of its own folder, and of a few folders beside it.

A mesh names textures and materials, and transforms.json names pictures. Both may come from strangers, who could name
any file of this machine and see it in what is made of it.
"""

import os
from pathlib import Path

# Where exporters and archives put pictures, beside the folder of the file that names them.
SIBLINGS = ("textures", "texture", "images", "maps")
LOOKED_IN = f"its folder or in {', '.join(SIBLINGS)} beside it"


def is_near(path: Path, owner: Path) -> bool:
    """
    Tells whether a file lies in the folder of the file that names it, in a folder below, or in one of `SIBLINGS`.

    Links are followed first. Where `owner` is a link itself, as all files in the cache of the Hub are, the folder that
    it leads to counts as well.

    Args:
        path: the file, which need not exist.
        owner: the file that names it.
    """
    real = Path(os.path.realpath(path))
    for folder in {Path(os.path.realpath(owner.parent)), Path(os.path.realpath(owner)).parent}:
        if real.is_relative_to(folder):
            return True
        if real.is_relative_to(folder.parent):
            beside = real.relative_to(folder.parent).parts
            if len(beside) > 1 and beside[0].casefold() in SIBLINGS:
                return True
    return False
