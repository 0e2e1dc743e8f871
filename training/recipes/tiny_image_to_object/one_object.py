"""What one object costs in a process of its own: seconds with all imports and loading, and peak memory.

    python -m atoken.training.recipes.tiny_image_to_object.one_object FOLDER PICTURE

FOLDER is a released pipeline, PICTURE a file with alpha. It prints a line of JSON.
"""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

_MB = 1024 if sys.platform == "linux" else 1024**2  # of what the system counts in: KB, on macOS bytes


def cost_of_an_object(folder: Path, picture: Path) -> dict[str, Any]:
    """
    Starts a process that makes an object of a picture.

    Args:
        folder: a pipeline's.
        picture: a file with alpha.

    Returns:
        "seconds" from the start of Python to the Gaussians, and "peak_memory_mb" of the whole process.
    """
    command = [sys.executable, "-m", cost_of_an_object.__module__, str(folder), str(picture)]
    began = time.perf_counter()
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    seconds = time.perf_counter() - began
    return {"seconds": round(seconds, 1), **json.loads(run.stdout.splitlines()[-1])}


def main(folder: str, picture: str) -> None:
    """Makes an object and prints the process's peak memory."""
    import torch
    from PIL import Image

    from atoken.evaluation.models.object_generator_loading import load_object_generator

    pipeline, _ = load_object_generator(folder, "cpu")
    with Image.open(picture) as image:
        pipeline(image.copy(), generator=torch.Generator().manual_seed(0))
    print(json.dumps({"peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // _MB}))


if __name__ == "__main__":
    main(*sys.argv[1:])
