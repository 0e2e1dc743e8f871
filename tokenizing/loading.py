"""A model with its processor, loaded and checked."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError

from atoken.configuration_atoken import AtokenConfig, AtokenDecoderConfig
from atoken.modeling_atoken import AtokenModel
from atoken.processing import AtokenProcessor
from atoken_headers.model_folders import DEFAULT_MODEL, find_model, weight_files

# Values of each tensor that enter a model's fingerprint.
_FINGERPRINT_VALUES = 1024
_PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json")


@dataclass(frozen=True)
class LoadedModel:
    """
    Holds a model with its processor.

    Attributes:
        model: in evaluation mode, on its device.
        processor: that of its folder, or one with the defaults.
        name: what leads to the model again: an embedded name, an absolute folder, or a Hub name.
        fingerprint: of its decoder, see `decoder_fingerprint`.
    """

    model: AtokenModel
    processor: AtokenProcessor
    name: str
    fingerprint: str

    @property
    def discrete(self) -> bool:
        """Tells whether the model has codes."""
        return self.model.quantizer is not None


def load_model(name: str | None = None, device: str = "auto", dtype: str | None = None) -> LoadedModel:
    """
    Loads a model and its processor. No code of the folder runs, and of weights only safetensors are read.

    Args:
        name: a folder, a Hub name, or an embedded checkpoint's name; atoken-tiny if None.
        device: "auto", "cpu" or "cuda"; see `resolve_device`.
        dtype: "float32", "bfloat16" or "float16"; None keeps that of the files.

    Raises:
        FileNotFoundError: there is no such model.
        ValueError: the device is not there, or the folder is incomplete or damaged.
    """
    target = resolve_device(device)
    folder, label = find_model(DEFAULT_MODEL if name is None else name)
    model = _load_weights(folder)
    # Before the dtype changes, so that it does not depend on the one asked for.
    fingerprint = decoder_fingerprint(model)
    has_processor = any((folder / file).is_file() for file in _PROCESSOR_FILES)
    # Never asked of the user either: whoever wants the code of a folder to run loads it with transformers.
    options = {"trust_remote_code": False}
    processor = AtokenProcessor.from_pretrained(folder, **options) if has_processor else AtokenProcessor()
    given, patch = tuple(processor.image_processor.patch_size), tuple(model.config.vision_config.patch_size)
    if given != patch:
        raise ValueError(f"processor must make patches of {patch}, as the model takes them, got {given} in {folder}")
    model = model.to(device=target, dtype=getattr(torch, dtype) if dtype else None).eval()
    return LoadedModel(model, processor, label, fingerprint)


def resolve_device(device: str) -> str:
    """
    Chooses where to compute: "auto" takes a GPU if there is one.

    Returns:
        "cuda" or "cpu".

    Raises:
        ValueError: an unknown device, or "cuda" without one.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device must be auto, cpu or cuda, got {device!r}")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device must be there, but torch sees no CUDA device; use cpu or auto")
    return "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"


def _load_weights(folder: Path) -> AtokenModel:
    weight_files(folder)
    quieten_libraries()
    model, report = AtokenModel.from_pretrained(
        folder,
        config=_read_config(folder),
        dtype="auto",
        output_loading_info=True,
        ignore_mismatched_sizes=True,
        use_safetensors=True,
    )
    for problem in ("missing_keys", "mismatched_keys", "unexpected_keys"):
        if report[problem]:
            raise ValueError(
                f"model: the weights in {folder} do not fit its config.json, {problem.replace('_', ' ')}: "
                f"{', '.join(sorted(map(str, report[problem]))[:3])}"
            )
    return model


def _read_config(folder: Path) -> AtokenConfig:
    try:
        return AtokenConfig.from_pretrained(folder)
    except (StrictDataclassError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"model: {folder / 'config.json'} cannot be used: {error}") from error


def quieten_libraries() -> None:
    """Silences reports and bars of transformers, which would stand between a program's own lines."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def decoder_fingerprint(model: AtokenModel) -> str:
    """
    Computes 32 hexadecimal digits that tell decoders apart: latents of one are noise to another.

    Everything that changes how latents decode takes part: the decoder's configuration, the latent channels, the
    quantizer, and the first values of every tensor of the decoder. They are read as fp32, so that the dtype they are
    loaded in makes no difference as long as it holds them exactly.
    """
    config = model.config
    sizes = {
        name: list(value) if isinstance(value, (list, tuple)) else value
        for name, value in ((name, getattr(config.decoder_config, name)) for name in _decoder_options())
    }
    return digest_of_weights([sizes, config.latent_channels, quantizer_sizes(model)], model.decoder.state_dict())


def encoder_fingerprint(model: AtokenModel) -> str:
    """
    Computes 32 hexadecimal digits that tell encoders apart, as `decoder_fingerprint` does for decoders.

    The pooling head, which does not change latents, takes no part.
    """
    config = model.config.vision_config
    without = {"model_type", "base_config_key", "initializer_range", "vision_use_head"}
    names = set(type(config).__annotations__) - without
    sizes = {name: getattr(config, name) for name in sorted(names)}
    sizes = {name: list(value) if isinstance(value, (list, tuple)) else value for name, value in sizes.items()}
    tensors = {name: each for name, each in model.vision_model.state_dict().items() if not name.startswith("head.")}
    tensors |= {f"latent_proj.{name}": each for name, each in model.latent_proj.state_dict().items()}
    return digest_of_weights([sizes, model.config.latent_channels, quantizer_sizes(model)], tensors)


def digest_of_weights(facts: list[Any], tensors: dict[str, torch.Tensor]) -> str:
    """Computes 32 hexadecimal digits of JSON-ready facts, and of the first values of tensors, read as fp32."""
    digest = hashlib.sha256(json.dumps(facts).encode())
    for name, tensor in sorted(tensors.items()):
        head = tensor.flatten()[:_FINGERPRINT_VALUES].float().cpu()
        digest.update(f"{name}{list(tensor.shape)}".encode() + head.numpy().tobytes())
    return digest.hexdigest()[:32]


def _decoder_options() -> list[str]:
    return sorted(set(AtokenDecoderConfig.__annotations__) - {"model_type", "base_config_key", "initializer_range"})


def quantizer_sizes(model: AtokenModel) -> dict[str, int] | None:
    """Gives the quantizer as a latents file records it."""
    config = model.config.quantizer_config
    if config is None:
        return None
    return {name: getattr(config, name) for name in ("num_codebooks", "codebook_dim", "levels")}
