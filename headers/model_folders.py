"""Folders that hold a model: finding and checking them, and describing them by what the headers of their files say."""

import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from .latents import bits_per_token, check_quantizer
from .shipped import CHECKPOINTS

DEFAULT_MODEL, DISCRETE_MODEL = "atoken-tiny", "atoken-tiny-d"
ANSWERING_MODEL = "atoken-tiny-llava"  # a multimodal language model

# Of a repository of the Hub: neither code nor pickles.
DOWNLOADED = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]

_PARTS = ("text_model", "vision_model", "latent_proj", "decoder", "gaussian_decoder")
_SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "tile_frames", "cache_frames")


def find_model(name: str) -> tuple[Path, str]:
    """
    Finds the folder of a model, and the name that leads to it again.

    Args:
        name: a folder, an embedded checkpoint's name, or a Hub name, which is downloaded.

    Raises:
        FileNotFoundError: there is no such model.
    """
    return find_folder(name, "config.json")


def find_folder(name: str, index: str) -> tuple[Path, str]:
    """
    Finds a folder that has a certain file; otherwise as `find_model`.

    Args:
        index: the file's name.
    """
    if name and Path(name).is_dir():
        folder = Path(name).resolve()
    elif name and "/" not in name and (CHECKPOINTS / name).is_dir():
        folder = CHECKPOINTS / name
    elif re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name) and not Path(name).exists():
        return _download(name), name
    else:
        raise FileNotFoundError(
            f"model must be a folder, a Hub name or the name of an embedded checkpoint, got {name!r}; "
            f"there is none of that name in {CHECKPOINTS} (a wheel has only {DEFAULT_MODEL} and {DISCRETE_MODEL})"
        )
    if not (folder / index).is_file():
        raise FileNotFoundError(f"model must be a folder with a {index}, got {folder}")
    return folder, folder.name if folder.parent == CHECKPOINTS else str(folder)


def is_embedded(name: str) -> bool:
    """Tells whether this source tree has an embedded checkpoint of a name."""
    return (CHECKPOINTS / name / "config.json").is_file()


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=DOWNLOADED))
    except Exception as error:
        # Which error it is depends on the network below; all mean the same here.
        raise FileNotFoundError(
            f"model must be a folder or a Hub name that can be downloaded, got {name!r}: {error}"
        ) from error


def is_model_folder(folder: Path) -> bool:
    """Tells whether a folder's configuration is that of an AtokenModel."""
    return _model_type(folder) == "atoken"


def is_answering_folder(folder: Path) -> bool:
    """Tells whether a folder's configuration is that of our multimodal language model."""
    return _model_type(folder) == "atoken_llava"


def _model_type(folder: Path) -> Any:
    try:
        return json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def weight_files(folder: Path) -> list[Path]:
    """
    Lists the weight files of an AToken folder.

    Raises:
        ValueError: the folder is that of another model, or a file is truncated or damaged.
        FileNotFoundError: there are no weights.
    """
    if not is_model_folder(folder):
        raise ValueError(
            f'model must be an AtokenModel (model_type "atoken"), got another one in {folder / "config.json"}'
        )
    weights = sorted(folder.glob("model*.safetensors"))
    if not weights:
        raise FileNotFoundError(f"model must have weights (model.safetensors), got none in {folder}")
    for path in weights:
        try:
            with safe_open(path, framework="numpy"):
                pass
        except SafetensorError as error:
            raise ValueError(f"model: {path} is truncated or damaged: {error}") from error
    return weights


def describe_model(name: str) -> dict[str, Any]:
    """
    Describes a model by its sizes, parameters, tokens and files, JSON-ready. No weights are read.

    Raises:
        FileNotFoundError: there is no such model, or it has no weights.
        ValueError: the configuration or a file of weights is damaged.
    """
    folder, label = find_model(name)
    weights = weight_files(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    dtypes: Counter[str] = Counter()
    parameters: Counter[str] = Counter()
    for path in weights:
        with safe_open(path, framework="numpy") as file:
            for key in file.keys():
                tensor = file.get_slice(key)
                dtypes[tensor.get_dtype()] += 1
                parameters[key.split(".")[0]] += math.prod(tensor.get_shape())
    try:
        vision, decoder = config["vision_config"], config["decoder_config"]
        quantizer, channels = config.get("quantizer_config"), int(config["latent_channels"])
        if quantizer is not None:
            check_quantizer(quantizer)
        content = "latents" if quantizer is None else "codes"
        shape = "FSQ, {num_codebooks} x {entries}"
        return {
            "model": label,
            "folder": str(folder),
            "dtype_on_disk": sorted(dtypes),
            "parameters": {
                **{part: parameters[part] for part in _PARTS if parameters[part]},
                "total": parameters.total(),
            },
            "encoder": {key: vision[key] for key in _SIZES},
            "decoder": {key: decoder[key] for key in _SIZES},
            "tokens": {
                "patch_size": list(vision["patch_size"]),
                "latent_channels": channels,
                "quantizer": quantizer
                and shape.format(**quantizer, entries=quantizer["levels"] ** quantizer["codebook_dim"]),
                "bits_per_token": bits_per_token(content, channels, quantizer, 16),
                "latent_dtype": "bfloat16" if quantizer is None else "codes",
            },
            "text_tower": config.get("text_config") is not None,
            "pooling_head": vision["vision_use_head"],
            "files": {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.is_file()},
        }
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"model: {folder / 'config.json'} cannot be used: {error!r}") from error
