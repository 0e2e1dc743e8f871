"""A whole folder of TRELLIS's image to 3D, with its `pipeline.json`, to our models and settings."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .autoencoder_sparse_structure_atoken import SparseStructureAutoencoder
from .conversion_generators_atoken import (
    convert_sparse_structure_autoencoder,
    convert_sparse_structure_flow,
    convert_structured_latent_flow,
)
from .flow_sampling_atoken import SIGMA_MIN, FlowSampling
from .transformer_lightning_dit_atoken import check_statistics
from .transformer_sparse_structure_atoken import SparseStructureFlowModel
from .transformer_structured_latent_atoken import StructuredLatentFlowModel

_READ = ("sparse_structure_decoder", "sparse_structure_flow_model", "slat_flow_model")
# Their names on the left, ours on the right; the strength w of guidance is our scale less 1.
_SETTINGS = {
    "steps": "num_inference_steps",
    "cfg_strength": "guidance_scale",
    "cfg_interval": "guidance_interval",
    "rescale_t": "shift",
}
# Samplers whose settings are less than all of them.
_FIXED: dict[str, dict[str, Any]] = {
    "FlowEulerGuidanceIntervalSampler": {},
    "FlowEulerCfgSampler": {"guidance_interval": [0.0, 1.0]},
    "FlowEulerSampler": {"guidance_scale": 1.0},
}
# What a sampler does where its params do not say it.
_DEFAULTS = {"steps": 50, "cfg_strength": 3.0, "cfg_interval": [0.0, 1.0], "rescale_t": 1.0}


@dataclass
class TrellisParts:
    """
    Holds what a folder of TRELLIS has for [`ImageToObjectPipeline`].

    Attributes:
        structure_vae, structure_transformer, latent_transformer: the models; the last has the statistics of latents.
        structure_sampling, latent_sampling: settings of the two stages.
        image_encoder: name of the released image encoder, as the folder says it.
        unused: entries of `pipeline.json` that are of no use here, such as decoders of its own latents.
    """

    structure_vae: SparseStructureAutoencoder
    structure_transformer: SparseStructureFlowModel
    latent_transformer: StructuredLatentFlowModel
    structure_sampling: dict[str, Any]
    latent_sampling: dict[str, Any]
    image_encoder: str
    unused: list[str]


def convert_trellis_folder(folder: str | Path, *, structure_encoder: str | Path | None = None) -> TrellisParts:
    """
    Converts a released folder. Nothing of it is typed in here: settings and statistics are those of `pipeline.json`.

    Args:
        folder: that has `pipeline.json`, and the models that it names as `.json` with `.safetensors` beside.
        structure_encoder: the file of the structure VAE's encoder, which `pipeline.json` does not name. Default: the
            decoder's name with `_enc_` for `_dec_`.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file cannot be read, an entry is missing or is not known (each is named), or the models' sizes are
            not those that their files say.
    """
    folder = Path(folder)
    entries = _read_json(folder / "pipeline.json")
    known = ("models", "sparse_structure_sampler", "slat_sampler", "slat_normalization", "image_cond_model")
    _check_entries(entries, known, "pipeline.json")
    models = entries["models"]
    missing = [name for name in _READ if name not in models]
    if missing:
        raise ValueError(
            f"folder: pipeline.json must name the models {', '.join(_READ)}, it lacks {', '.join(missing)}"
        )
    decoder, structure, latents = (folder / f"{models[name]}.safetensors" for name in _READ)
    encoder = decoder.with_name(decoder.name.replace("_dec_", "_enc_"))
    if structure_encoder is not None:
        encoder = Path(structure_encoder)
    elif encoder == decoder:
        raise ValueError(f"structure_encoder must be given: the name of {decoder.name} does not tell the encoder's")
    structure_vae = convert_sparse_structure_autoencoder(encoder, decoder)
    structure_options, latent_options = _model_options(structure), _model_options(latents)
    structure_transformer = convert_sparse_structure_flow(structure, num_attention_heads=structure_options["num_heads"])
    latent_transformer = convert_structured_latent_flow(latents, num_attention_heads=latent_options["num_heads"])
    side = structure_transformer.config.sample_size
    if structure_options["resolution"] != side:
        raise ValueError(f"folder: {structure.name} must have resolution {side}, got {structure_options['resolution']}")
    statistics = entries["slat_normalization"]
    _check_entries(statistics, ("mean", "std"), "slat_normalization")
    check_statistics(latent_transformer.config.in_channels, statistics["mean"], statistics["std"])
    latent_transformer.register_to_config(
        sample_size=latent_options["resolution"], latents_mean=statistics["mean"], latents_std=statistics["std"]
    )
    return TrellisParts(
        structure_vae,
        structure_transformer,
        latent_transformer,
        _settings(entries["sparse_structure_sampler"], "sparse_structure_sampler"),
        _settings(entries["slat_sampler"], "slat_sampler"),
        entries["image_cond_model"],
        [f"models.{name}" for name in models if name not in _READ],
    )


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"folder: there is no file {path}")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["args"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f'folder: {path} must be JSON with an entry "args", it cannot be read: {error!r}') from error
    if not isinstance(found, dict):
        raise ValueError(f'folder: {path} must have a dictionary "args", got {type(found).__name__}')
    return found


def _model_options(weights: Path) -> dict[str, Any]:
    """Reads what the file beside a model's weights says of its sizes."""
    path = weights.with_suffix(".json")
    options = _read_json(path)
    missing = [name for name in ("num_heads", "resolution") if not isinstance(options.get(name), int)]
    if missing:
        raise ValueError(f"folder: {path.name} must have whole numbers {', '.join(missing)} in its args")
    return options


def _settings(sampler: dict[str, Any], entry: str) -> dict[str, Any]:
    """Gives the settings of one sampler by our names."""
    _check_entries(sampler, ("name", "args", "params"), entry)
    if sampler["name"] not in _FIXED:
        raise ValueError(f"folder: {entry} must be one of {', '.join(_FIXED)}, got {sampler['name']!r}")
    if sampler["args"] != {"sigma_min": SIGMA_MIN}:
        raise ValueError(f"folder: {entry} must have the args sigma_min = {SIGMA_MIN} alone, got {sampler['args']}")
    unknown = sorted(sampler["params"].keys() - _SETTINGS.keys())
    if unknown:
        raise ValueError(f"folder: {entry} must have params among {', '.join(_SETTINGS)}, got {', '.join(unknown)}")
    given = {**_DEFAULTS, **sampler["params"]}
    given["cfg_strength"] += 1  # v = v_null + (1 + w) (v_condition - v_null)
    settings = {ours: given[theirs] for theirs, ours in _SETTINGS.items()} | _FIXED[sampler["name"]]
    FlowSampling.of(entry, settings)
    return settings


def _check_entries(found: dict[str, Any], expected: tuple[str, ...], where: str) -> None:
    unknown, missing = sorted(found.keys() - set(expected)), [name for name in expected if name not in found]
    if unknown or missing:
        raise ValueError(
            f"folder: {where} must have the entries {', '.join(expected)}; unknown are {unknown or 'none'}, and it "
            f"lacks {missing or 'none'}"
        )
