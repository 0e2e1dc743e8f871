"""Which folder a generator's name leads to, and that it holds a pipeline of the right kind."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import diffusers
import torch

from atoken.tokenizing.loading import quieten_libraries, resolve_device
from atoken_headers.generator_folders import INDEX, find_generator, pipeline_class

from ..dtypes import checked_dtype


@dataclass(frozen=True)
class GeneratorFolder:
    """
    Holds where a generator lies and how it is wanted.

    Attributes:
        path: of the folder.
        label: what leads to it again: an embedded name, an absolute folder, or a Hub name.
        kind: the name of its pipeline's class.
        device, dtype: to load it to.
    """

    path: Path
    label: str
    kind: str
    device: torch.device
    dtype: torch.dtype


def open_generator(name: str, pipelines: Collection[str], device: str, dtype: str) -> GeneratorFolder:
    """
    Finds a generator, checks what it is and how it is wanted, and silences the libraries that load it.

    Args:
        name: a folder, a Hub name, or an embedded generator's name.
        pipelines: names of the classes it may be of.
        device: "auto", "cpu" or "cuda".
        dtype: "float32", "bfloat16" or "float16".

    Raises:
        FileNotFoundError: there is no such generator.
        ValueError: the folder is that of another pipeline, or an option is out of range.
    """
    wanted, target = checked_dtype(dtype), resolve_device(device)
    path, label = find_generator(name)
    kind = pipeline_class(path)
    if kind not in pipelines:
        raise ValueError(f"model must be a pipeline of {' or '.join(pipelines)}, got {kind!r} in {path / INDEX}")
    quieten_libraries()
    diffusers.logging.set_verbosity_error()
    diffusers.logging.disable_progress_bar()
    return GeneratorFolder(path, label, kind, target, wanted)
