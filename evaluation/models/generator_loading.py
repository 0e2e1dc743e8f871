"""The pipeline of a generator, loaded by the classes of this project: no code of the folder runs."""

import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import diffusers
import torch

from atoken import AutoencoderAtoken
from atoken.generation import (
    LightningDiTPipeline,
    LightningDiTTransformer2DModel,
    TokenBridgeModel,
    TokenBridgePipeline,
)
from atoken.tokenizing.loading import digest_of_weights
from atoken_headers.generator_folders import INDEX, LIGHTNING_DIT

from .generator_folder import open_generator

PIPELINES = {each.__name__: each for each in (LightningDiTPipeline, TokenBridgePipeline)}
MODELS = {each.__name__: each for each in (AutoencoderAtoken, LightningDiTTransformer2DModel, TokenBridgeModel)}
RECORD = "training.json"


@dataclass(frozen=True)
class LoadedGenerator:
    """
    Holds the pipeline of a generator.

    Attributes:
        pipeline: on its device.
        name: what leads to it again: an embedded name, an absolute folder, or a Hub name.
        fingerprint: 32 hexadecimal digits of configurations and weights, to tell generators apart.
        sampling: arguments of the pipeline that its record of training advises, instead of the pipeline's own defaults.
    """

    pipeline: LightningDiTPipeline | TokenBridgePipeline
    name: str
    fingerprint: str
    sampling: dict[str, Any] = field(default_factory=dict)

    @property
    def class_names(self) -> dict[int, str]:
        """Gives the names of classes by number, as far as the configuration has them."""
        return {int(number): name for number, name in (self.pipeline.transformer.config.id2label or {}).items()}


def load_generator(name: str | None = None, device: str = "auto", dtype: str = "float32") -> LoadedGenerator:
    """
    Loads a generator.

    Args:
        name: a folder, a Hub name, or an embedded generator's name; lightning-dit-tiny if None.
        device: "auto", "cpu" or "cuda".
        dtype: "float32", "bfloat16" or "float16".

    Raises:
        FileNotFoundError: there is no such generator.
        ValueError: the folder is that of another pipeline, incomplete or damaged, or an option is out of range.
    """
    found = open_generator(LIGHTNING_DIT if name is None else name, PIPELINES, device, dtype)
    folder, index = found.path, read_json(found.path / INDEX)
    names = [part for part in inspect.signature(PIPELINES[found.kind].__init__).parameters if part != "self"]
    pipeline = PIPELINES[found.kind](**{part: load_part(folder, part, index.get(part)) for part in names})
    pipeline.set_progress_bar_config(disable=True)
    # Before the dtype changes, so that it does not depend on the one asked for.
    fingerprint = _fingerprint(pipeline)
    if found.dtype != torch.float32:  # in which all parts are loaded
        pipeline.to(dtype=found.dtype)
    pipeline.to(found.device)
    record = read_json(folder / RECORD) if (folder / RECORD).is_file() else {}
    return LoadedGenerator(pipeline, found.label, fingerprint, record.get("sampling", {}))


def load_part(folder: Path, part: str, entry: Any, models: Mapping[str, type] = MODELS) -> Any:
    """
    Loads a part of a pipeline, in fp32.

    Args:
        folder: of the pipeline.
        part: name of the part's folder.
        entry: what the pipeline's index says of it.
        models: classes of this project by name; others have to be of diffusers.

    Raises:
        FileNotFoundError: there is no such part.
        ValueError: it is of another class, incomplete or damaged.
    """
    found = entry[-1] if isinstance(entry, list) and len(entry) == 2 else None
    part_class = models.get(found) or getattr(diffusers, str(found), None)
    if part_class is None:
        raise ValueError(
            f"model must have a {part} of a class of atoken or diffusers, got {entry!r} in {folder / INDEX}"
        )
    if not (folder / part).is_dir():
        raise FileNotFoundError(f"model must have a folder {part}, got none in {folder}")
    options = {"output_loading_info": True} if issubclass(part_class, torch.nn.Module) else {}
    try:
        loaded = part_class.from_pretrained(folder / part, **options)
    except Exception as error:
        # What libraries raise for files that are damaged or missing is of many types.
        raise ValueError(f"model: {folder / part} cannot be loaded: {error}") from error
    if not options:
        return loaded
    model, report = loaded
    for problem in ("missing_keys", "mismatched_keys", "unexpected_keys"):
        if report.get(problem):
            raise ValueError(
                f"model: the weights in {folder / part} do not fit its config.json, {problem.replace('_', ' ')}: "
                f"{', '.join(sorted(map(str, report[problem]))[:3])}"
            )
    return model.eval()


def read_json(path: Path) -> dict[str, Any]:
    """
    Reads a file of a model's folder.

    Raises:
        ValueError: it is not there, damaged, or holds no mapping.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"model: {path} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"model: {path} must hold a mapping, got a {type(values).__name__}")
    return values


def _fingerprint(pipeline: LightningDiTPipeline | TokenBridgePipeline) -> str:
    facts, tensors = [], {}
    for part in ("transformer", "vae"):
        model = getattr(pipeline, part)
        # Names that begin with an underscore say where files lie.
        config = {name: value for name, value in model.config.items() if not name.startswith("_")}
        facts.append(json.loads(json.dumps(config, sort_keys=True, default=str)))
        tensors |= {f"{part}.{name}": value for name, value in model.state_dict().items()}
    return digest_of_weights(facts, tensors)
