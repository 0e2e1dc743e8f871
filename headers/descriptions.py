"""What a model's folder says about itself, by its configuration and the headers of its files: no weights are read."""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from .generator_folders import INDEX, is_generator_folder, pipeline_class
from .latents import bits_per_token, check_quantizer
from .model_folders import find_folder, is_answering_folder, is_model_folder, weight_files

CONFIG = "config.json"
_PARTS = ("text_model", "vision_model", "latent_proj", "decoder", "gaussian_decoder")
_SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "tile_frames", "cache_frames")
_TEXT_SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")


def describe(name: str) -> dict[str, Any]:
    """
    Describes a tokenizer, a generator or a multimodal language model, JSON-ready.

    Args:
        name: a folder, an embedded checkpoint's name, or a Hub name, which is downloaded.

    Returns:
        "model" (the name that leads to it again), "folder", "dtype_on_disk", "parameters" of each part and their
        "total", "files" with their bytes, and what is particular to the kind of model.

    Raises:
        FileNotFoundError: there is no such model, or it has no weights.
        ValueError: it is a model of another kind, or its configuration or a file of weights is damaged.
    """
    folder, label = find_folder(name, CONFIG, INDEX)
    about = {"model": label, "folder": str(folder)}
    if is_generator_folder(folder):
        return about | _of_generator(folder)
    if is_answering_folder(folder):
        return about | _of_answering_model(folder)
    if is_model_folder(folder):
        return about | _of_tokenizer(folder)
    raise ValueError(
        f'model must be an AtokenModel (model_type "atoken"), a pipeline of diffusers or an '
        f"AtokenLlavaForConditionalGeneration, got another one in {folder / CONFIG}"
    )


def _of_tokenizer(folder: Path) -> dict[str, Any]:
    dtypes, parameters = _weights_of(folder, weight_files(folder), lambda _, key: key.split(".")[0])
    config = _read(folder / CONFIG)
    try:
        vision, decoder = config["vision_config"], config["decoder_config"]
        quantizer, channels = config.get("quantizer_config"), int(config["latent_channels"])
        if quantizer is not None:
            check_quantizer(quantizer)
        content = "latents" if quantizer is None else "codes"
        shape = "FSQ, {num_codebooks} x {entries}"
        return {
            "dtype_on_disk": dtypes,
            "parameters": _by_part(parameters, _PARTS),
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
            "files": _files(folder),
        }
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"model: {folder / CONFIG} cannot be used: {error!r}") from error


def _of_generator(folder: Path) -> dict[str, Any]:
    name, index = pipeline_class(folder), _read(folder / INDEX)
    # A part is [library, class]; what is missing is [null, null], settings are of other forms, and no path is a part.
    pairs = {part: each for part, each in index.items() if isinstance(each, list) and len(each) == 2}
    classes = {part: each[1] for part, each in pairs.items() if part.isidentifier() and isinstance(each[1], str)}
    found = [path for part in classes for path in sorted((folder / part).glob("*.safetensors"))]
    # A tokenizer's folder may also hold the rows that its training protects.
    weights = [path for path in found if path.name.startswith(("model", "diffusion_pytorch_model"))]
    dtypes, parameters = _weights_of(folder, weights, lambda path, _: path.parent.name)
    return {
        "pipeline": name,
        "dtype_on_disk": dtypes,
        "parts": classes,
        "parameters": _by_part(parameters, classes),
        "files": _files(folder, classes),
    }


def _of_answering_model(folder: Path) -> dict[str, Any]:
    weights = sorted(folder.glob("model*.safetensors"))
    dtypes, parameters = _weights_of(folder, weights, lambda _, key: key.removeprefix("model.").split(".")[0])
    config = _read(folder / CONFIG)
    try:
        vision, text = config["vision_config"], config["text_config"]
        return {
            "architecture": config["architectures"][0],
            "dtype_on_disk": dtypes,
            "parameters": _by_part(parameters, parameters),
            "vision_tower": {key: vision[key] for key in _SIZES},
            "language_model": {"model_type": text["model_type"], **{key: text[key] for key in _TEXT_SIZES}},
            "files": _files(folder),
        }
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"model: {folder / CONFIG} cannot be used: {error!r}") from error


def _weights_of(folder: Path, paths: list[Path], part_of: Callable[[Path, str], str]) -> tuple[list[str], Counter[str]]:
    """Gives the dtypes of all weights, and how many each part has, which a file and a tensor's name tell."""
    if not paths:
        raise FileNotFoundError(f"model must have weights (.safetensors), got none in {folder}")
    dtypes: set[str] = set()
    parameters: Counter[str] = Counter()
    for path in paths:
        try:
            with safe_open(path, framework="numpy") as file:
                for key in file.keys():
                    tensor = file.get_slice(key)
                    dtypes.add(tensor.get_dtype())
                    parameters[part_of(path, key)] += math.prod(tensor.get_shape())
        except SafetensorError as error:
            raise ValueError(f"model: {path} is truncated or damaged: {error}") from error
    return sorted(dtypes), parameters


def _by_part(parameters: Counter[str], parts: Iterable[str]) -> dict[str, int]:
    """Lists parts that have weights, and the total, to which single numbers such as the logits' scale belong too."""
    return {**{part: parameters[part] for part in parts if parameters[part]}, "total": parameters.total()}


def _files(folder: Path, parts: Iterable[str] = ()) -> dict[str, int]:
    """Gives the bytes of the files in a folder and in some of its own."""
    places = [folder, *(folder / part for part in parts if (folder / part).is_dir())]
    files = [path for place in places for path in sorted(place.iterdir()) if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"model: {path} cannot be read: {error}") from error
