"""Folders that hold a model: finding, checking, describing and loading them."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open

from atoken.configuration_atoken import AtokenConfig
from atoken.modeling_atoken import AtokenModel

from .latent_files import bits_per_token, decoder_fingerprint

# The embedded checkpoints of a source tree; `--model` also takes the name of one of them.
CHECKPOINTS = Path(__file__).resolve().parent.parent / "checkpoints"


def find_model(name: str) -> tuple[Path, str]:
    """
    The folder of a model, and the name that leads to it again.

    Args:
        name: a folder, an embedded checkpoint's name, or a Hub name.

    Raises:
        FileNotFoundError: if there is no such model.
    """
    if name and Path(name).is_dir():
        folder = Path(name).resolve()
    elif name and "/" not in name and (CHECKPOINTS / name).is_dir():
        folder = CHECKPOINTS / name
    elif re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name) and not Path(name).exists():
        return _download(name), name
    else:
        raise FileNotFoundError(
            f"--model: {name!r} is no folder and no Hub name, and there is no embedded checkpoint of that name in "
            f"{CHECKPOINTS}; say --model FOLDER"
        )
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"--model: {folder} holds no config.json, so it is no model folder")
    return folder, folder.name if folder.parent == CHECKPOINTS else str(folder)


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors", "*.model", "*.txt"]))
    except Exception as error:
        # Which error it is depends on the network below; all mean the same here.
        raise FileNotFoundError(
            f"--model: there is no folder {name!r}, and it cannot be had from the Hub: {error}"
        ) from error


def is_model_folder(folder: Path) -> bool:
    """Whether a folder's configuration is that of an AtokenModel."""
    try:
        return json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"] == "atoken"
    except (OSError, ValueError, KeyError, TypeError):
        return False


def weight_files(folder: Path) -> list[Path]:
    """The weight files of an AToken folder. Raises ValueError or OSError if it is not one, or they are damaged."""
    if not is_model_folder(folder):
        raise ValueError(f'--model: {folder / "config.json"} is not that of an AtokenModel (model_type "atoken")')
    weights = sorted(folder.glob("model*.safetensors"))
    if not weights:
        raise FileNotFoundError(f"--model: {folder} holds no weights (model.safetensors)")
    for path in weights:
        try:
            with safe_open(path, framework="pt"):
                pass
        except SafetensorError as error:
            raise ValueError(f"--model: {path} is truncated or damaged: {error}") from error
    return weights


def read_config(folder: Path) -> AtokenConfig:
    """The configuration of an AToken folder. Raises ValueError if an entry of it makes no sense."""
    try:
        return AtokenConfig.from_pretrained(folder)
    except (StrictDataclassError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"--model: {folder / 'config.json'} cannot be used: {error}") from error


def quieten_libraries() -> None:
    """Reports and bars of transformers would stand between our own lines."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def load_model(folder: Path, device: str, dtype: str | None) -> tuple[AtokenModel, str]:
    """
    The model of a folder in evaluation mode, and the fingerprint of its decoder.

    Raises:
        FileNotFoundError, ValueError: if the folder is incomplete or damaged.
    """
    weight_files(folder)
    quieten_libraries()
    # In the dtype of the files first, for a fingerprint that does not depend on the one asked for.
    model, report = AtokenModel.from_pretrained(
        folder,
        config=read_config(folder),
        dtype="auto",
        output_loading_info=True,
        ignore_mismatched_sizes=True,
        use_safetensors=True,
    )
    for problem in ("missing_keys", "mismatched_keys", "unexpected_keys"):
        if report[problem]:
            raise ValueError(
                f"--model: the weights in {folder} do not fit its config.json, {problem.replace('_', ' ')}: "
                f"{', '.join(sorted(map(str, report[problem]))[:3])}"
            )
    fingerprint = decoder_fingerprint(model)
    return model.to(device=device, dtype=getattr(torch, dtype) if dtype else None).eval(), fingerprint


def describe_model(name: str) -> dict[str, Any]:
    """Sizes, parameters, tokens and files of a model, read from its configuration and the headers of its files."""
    folder, label = find_model(name)
    weights = weight_files(folder)
    quieten_libraries()
    config = read_config(folder)
    with torch.device("meta"):
        model = AtokenModel(config)
    dtypes: Counter[str] = Counter()
    for path in weights:
        with safe_open(path, framework="pt") as file:
            dtypes.update(file.get_slice(key).get_dtype() for key in file.keys())
    parameters = {
        part: sum(parameter.numel() for parameter in module.parameters()) for part, module in model.named_children()
    }
    vision, decoder, quantizer = config.vision_config, config.decoder_config, config.quantizer_config
    sizes = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    return {
        "model": label,
        "folder": str(folder),
        "dtype_on_disk": sorted(dtypes),
        "parameters": {**{part: count for part, count in parameters.items() if count}, "total": model.num_parameters()},
        "encoder": {key: getattr(vision, key) for key in (*sizes, "tile_frames", "cache_frames")},
        "decoder": {key: getattr(decoder, key) for key in (*sizes, "tile_frames", "cache_frames")},
        "tokens": {
            "patch_size": list(vision.patch_size),
            "latent_channels": config.latent_channels,
            "quantizer": None if quantizer is None else f"FSQ, {quantizer.num_codebooks} x {quantizer.codebook_size}",
            "bits_per_token": bits_per_token(config, "latents" if quantizer is None else "codes", torch.bfloat16),
            "latent_dtype": "bfloat16" if quantizer is None else "codes",
        },
        "text_tower": config.text_config is not None,
        "pooling_head": vision.vision_use_head,
        "files": {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.is_file()},
    }
