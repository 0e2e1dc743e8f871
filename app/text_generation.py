"""The work of `atoken generate --text`: an image or a clip of each text, into files."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atoken.evaluation.models.media_generator_loading import LoadedMediaGenerator, load_media_generator
from atoken.evaluation.seeded_images import image_generator
from atoken.processing.media_suffixes_atoken import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from atoken.processing.media_writing_atoken import write_image, write_video

from .console import progress_bar
from .errors import UsageError, naming

FRAMES = 16  # of clips, where nothing else is said
_LONGEST_NAME = 60


@dataclass(frozen=True)
class Wanted:
    """
    Says what is to be made.

    Attributes:
        texts: of each item, which take turns.
        count: items.
        frames: 1 for images.
        fps: frames per second of clips.
        seed: item i depends on it, its text and i.
        settings: of sampling.
    """

    texts: Sequence[str]
    count: int
    frames: int
    fps: float
    seed: int
    settings: dict[str, Any]

    def text(self, index: int) -> str:
        """Gives the text of an item."""
        return self.texts[index % len(self.texts)]


def check_alone(options: dict[str, Any]) -> None:
    """
    Checks that no option is given that is for images of classes.

    Raises:
        UsageError: naming it.
    """
    for option, value in options.items():
        if value:
            raise UsageError(f"{option}: it does not go with --text; leave it out")


def generate_texts(
    wanted: Wanted, output: Path, model: str | None, device: str, dtype: str, batch_size: int, overwrite: bool
) -> dict[str, Any]:
    """Makes images or clips of texts; gives what is to be reported."""
    with naming("--model"):
        loaded = load_media_generator(model, device, dtype)
    paths = make_files(loaded, wanted, output, batch_size, overwrite)
    return {
        "model": loaded.name,
        "fingerprint": loaded.fingerprint,
        "texts": list(wanted.texts),
        "frames": wanted.frames,
        "seed": wanted.seed,
        "settings": wanted.settings,
        "output": str(output),
        "files": [str(path) for path in paths],
    }


def frames_of(output: Path, frames: int | None) -> int:
    """
    Gives the number of frames: what is asked for, else as the file's name says.

    Raises:
        UsageError: the name is of a picture, and there is more than one frame; or of neither.
    """
    suffix = output.suffix.lower()
    if suffix in IMAGE_SUFFIXES and frames not in (None, 1):
        raise UsageError(f"--frames: {output.name} is a picture's name, which has 1, got {frames}; write to .mp4")
    if suffix and suffix not in (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES):
        raise UsageError(f"--output must end in .png or .mp4, or be a folder, got {output.name}")
    if frames is not None:
        return frames
    return FRAMES if suffix in VIDEO_SUFFIXES else 1


def make_files(
    loaded: LoadedMediaGenerator, wanted: Wanted, output: Path, batch_size: int, overwrite: bool
) -> list[Path]:
    """
    Makes images or clips and writes them: one into the file that `output` names, or all into the folder.

    Raises:
        UsageError: one file is named for several items.
        ValueError: a file is there, or an argument does not fit.
    """
    if output.suffix and wanted.count > 1:
        raise UsageError(f"--output must be a folder for {wanted.count} items, got the file {output.name}")
    paths = [output] if output.suffix else [output / _name(wanted, index) for index in range(wanted.count)]
    if not overwrite and (there := next((path for path in paths if path.exists()), None)):
        raise ValueError(f"--output: {there} is there already; use --overwrite to replace it")
    with naming("--text"):
        loaded.pipeline.check_inputs(list(wanted.texts), wanted.frames, wanted.settings)
    with progress_bar() as bar:
        task = bar.add_task("generating", total=wanted.count)
        for start in range(0, wanted.count, batch_size):
            indices = range(start, min(start + batch_size, wanted.count))
            with naming("--text"):
                made = loaded.pipeline(
                    [wanted.text(index) for index in indices],
                    wanted.frames,
                    generator=[image_generator(wanted.seed, index) for index in indices],
                    output_type="np",
                    **wanted.settings,
                )
            items = made.images if wanted.frames == 1 else made.frames
            for index, item in zip(indices, items, strict=True):
                _write(paths[index], (item * 255).round().astype("uint8"), wanted.fps)
            bar.advance(task, len(indices))
    return paths


def _write(path: Path, pixels: Any, fps: float) -> None:
    """Writes (H, W, 3) or (T, H, W, 3) uint8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if pixels.ndim == 3:
        write_image(path, pixels)
    else:
        write_video(path, pixels, fps, crf=12)


def _name(wanted: Wanted, index: int) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", wanted.text(index).lower()).strip("-")[:_LONGEST_NAME] or "text"
    return f"{index:06d}-{slug}{'.png' if wanted.frames == 1 else '.mp4'}"
