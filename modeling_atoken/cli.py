"""The `atoken` command: images and videos to latents, codes and embeddings, and back.

Torch and the models are imported inside the commands, so that `--help` and mistakes in the options do not wait for them.
"""

from __future__ import annotations

import functools
import glob
import json
import math
import os
import re
import shutil
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

if TYPE_CHECKING:
    import numpy as np
    import torch

    from .modeling_atoken import AtokenModel
    from .processing import AtokenProcessor

# The embedded checkpoints of a source tree; `--model` also takes the name of one of them.
CHECKPOINTS = Path(__file__).resolve().parent.parent / "checkpoints"
EXAMPLE_MEDIA = CHECKPOINTS.parent / "examples" / "media"
DEFAULT_MODEL, DISCRETE_MODEL = "atoken-tiny", "atoken-tiny-d"

IMAGE_SUFFIXES = frozenset(
    ".apng .avif .bmp .gif .jp2 .jpeg .jpg .pgm .png .ppm .tif .tiff .webp".split()  # noqa: SIM905
)
VIDEO_SUFFIXES = frozenset(".avi .m4v .mkv .mov .mp4 .mpeg .mpg .ogv .ts .webm .wmv".split())  # noqa: SIM905
# These may also hold an animation; only a look inside tells.
ANIMATED_SUFFIXES = (".apng", ".gif", ".png", ".webp")

app = typer.Typer(
    help="AToken: one tokenizer for images and videos.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
