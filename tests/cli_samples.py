"""Running the `atoken` command, and tiny models and media for it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from atoken import AtokenModel
from atoken.processing import AtokenProcessor
from atoken.processing.media_reading_atoken import write_image, write_video
from atoken_app.main import app

from .modeling.helpers import make_model
from .processing.samples import photo, smooth_clip


def run(*arguments: Any, code: int = 0):
    """Runs `atoken` with the arguments and checks the exit code. An unexpected exception keeps its traceback."""
    # Messages of the option parser are wrapped to the width of the terminal.
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "1000"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, f"exit code {result.exit_code}\n{result.stdout}\n{result.stderr}"
    return result


def run_json(*arguments: Any, code: int = 0) -> dict[str, Any]:
    """What `atoken ... --json` prints, which must be all of standard output."""
    return json.loads(run(*arguments, "--json", code=code).stdout)


def save_model(folder: Path, seed: int = 0, tokenizer: Any = None, **options: Any) -> AtokenModel:
    """A tiny random model with its processor in `folder`; the options are those of `make_model`."""
    model = make_model(seed, **options)
    with torch.no_grad():
        # Such weights decode to values around 1, too many of which clipping would make equal.
        model.decoder.out_layer.weight.mul_(0.3)
    model.save_pretrained(folder)
    AtokenProcessor(tokenizer=tokenizer).save_pretrained(folder)
    return model


def save_photo(path: Path, height: int = 35, width: int = 45, seed: int = 0) -> np.ndarray:
    """A picture with a side that is no multiple of a patch."""
    pixels = photo(height, width, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, pixels)
    return pixels


def save_clip(path: Path, frames: int = 18, height: int = 32, width: int = 48, fps: float = 12.5) -> np.ndarray:
    """A video that ends in the middle of a patch and of a tile."""
    pixels = smooth_clip(frames, height, width)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, pixels, fps=fps, codec="libx264rgb", crf=0)
    return pixels


def names(folder: Path) -> list[str]:
    """All that is in a folder, relative to it."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def metadata_of(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return file.metadata()


def rewrite(path: Path, tensors: dict[str, torch.Tensor] | None = None, **metadata: str | None) -> None:
    """Changes tensors or metadata of a safetensors file; None removes an entry."""
    changed = {**metadata_of(path), **metadata}
    tensors = tensors or load_file(path)
    save_file(tensors, path, metadata={name: value for name, value in changed.items() if value is not None})
