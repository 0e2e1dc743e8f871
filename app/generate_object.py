"""`atoken generate --image`: 3D Gaussians of an object's pictures."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .console import print_json, say, tell
from .errors import UsageError
from .jobs import check_output_folder
from .options import OUTPUT_SUFFIXES
from .render_command import SUFFIXES


@dataclass(frozen=True)
class ObjectOutputs:
    """Names the files that an object is written to, and whether existing ones are replaced."""

    ply: Path
    turntable: Path | None
    page: Path | None
    overwrite: bool

    def by_option(self) -> dict[str, Path]:
        """Gives the files by the options that name them."""
        named = {"--output": self.ply, "--turntable": self.turntable, "--page": self.page}
        return {option: path for option, path in named.items() if path is not None}


def check_object_options(images: list[Path], masks: list[Path], outputs: ObjectOutputs, needless: list[str]) -> None:
    """
    Checks what can be said before any work.

    Args:
        images, masks: files of `--image` and `--mask`.
        outputs: what is to be written.
        needless: options that were given, but are of images of classes.

    Raises:
        UsageError: options contradict each other.
        ValueError: a file exists.
    """
    if not images:
        given = [*(["--mask"] if masks else []), *list(outputs.by_option())[1:]]
        raise UsageError(f"{given[0]}: it goes with --image; give a picture of the object")
    if masks and len(masks) != len(images):
        raise UsageError(f"--mask: give one for each --image, {len(images)}; got {len(masks)}")
    if needless:
        raise UsageError(f"{needless[0]}: it does not go with --image; leave it out")
    suffixes = {"--output": (OUTPUT_SUFFIXES["object"],), **SUFFIXES}
    for option, path in outputs.by_option().items():
        if path.suffix.lower() not in suffixes[option]:
            raise UsageError(f"{option}: {path} must end in {' or '.join(suffixes[option])} with --image")
        if path.is_dir():
            raise UsageError(f"{option}: {path} is a folder; expected a file")
        check_output_folder(path.parent)
        if path.exists() and not outputs.overwrite:
            raise ValueError(f"{option}: {path} exists; use --overwrite to replace it")


def generate_object(
    images: list[Path],
    masks: list[Path],
    outputs: ObjectOutputs,
    model: str | None,
    seed: int,
    settings: dict[str, Any],
    device: str,
    dtype: str,
    as_json: bool,
) -> None:
    """
    Generates an object and writes it.

    Args:
        images, masks, outputs: as in `check_object_options`.
        model: as in `load_object_generator`.
        seed: of noise.
        settings: of both stages of sampling, by the names of `FlowSampling`; None leaves one as the model has it.
        device, dtype: where and in which number type to compute.
        as_json: prints facts as JSON.

    Raises:
        ValueError: a picture cannot be used, or the model or a setting does not fit.
    """
    from .generate_object_jobs import generate_gaussians, write_object

    chosen = {name: value for name, value in settings.items() if value is not None}
    gaussians, facts = generate_gaussians(images, masks, model, seed, chosen, device, dtype)
    write_object(gaussians, outputs.ply, outputs.turntable, outputs.page)
    written = {option.removeprefix("--"): str(path) for option, path in outputs.by_option().items()}
    if as_json:
        print_json({**facts, **written})
        return
    say(f"{facts['gaussians']} Gaussians in {facts['voxels']} voxels by {facts['model']}")
    for path in written.values():
        tell(path)
