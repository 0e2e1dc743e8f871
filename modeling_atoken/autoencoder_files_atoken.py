"""How an autoencoder comes from files and goes into them: its own, those of `AtokenModel`, and the released ones."""

import re
import shutil
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any, Self

import torch
from transformers import PreTrainedConfig

from .configuration_atoken import AtokenConfig
from .conversion_atoken import convert_original_checkpoint
from .modeling_atoken import AtokenModel

# What `from_pretrained` of diffusers takes and that of transformers does not. The first group only says how to load,
# which transformers decides by itself; the second would change the model.
_LOADING_ONLY = ("low_cpu_mem_usage", "disable_mmap", "offload_state_dict", "proxies", "mirror", "flashpack_kwargs")
_UNSUPPORTED = ("quantization_config", "parallel_config", "use_flashpack", "ignore_mismatched_sizes")


class _AutoencoderOnly(AtokenModel):
    """Loads a full checkpoint, of which only the autoencoder's part is wanted."""

    _keys_to_ignore_on_load_unexpected = [r"^(?!vision_model\.|latent_proj\.|decoder\.)"]


class AutoencoderFiles:
    """Loads and saves [`AutoencoderAtoken`], whose base class it is, in front of those of diffusers."""

    @classmethod
    def from_atoken_model(cls, model: AtokenModel, **overrides) -> Self:
        """
        Makes the autoencoder of an [`AtokenModel`]. The modules are shared, not copied: what is done to one (training,
        `.to`) is done to the other. Text tower and logits are left out.

        Args:
            model: continuous or discrete.
            overrides: arguments of this class that an [`AtokenConfig`] does not have, such as `scaling_factor`, or
                `latents_mean` and `latents_std` in place of the model's.

        Raises:
            ValueError: if `model` is something else, or an override would contradict its modules.
        """
        config = getattr(model, "config", None)
        # By name: as remote code, classes exist once per folder.
        if getattr(config, "model_type", None) != "atoken":
            raise ValueError(f"model must be an AtokenModel, got {type(model).__name__}")
        fixed = sorted(overrides.keys() & {"vision_config", "decoder_config", "quantizer_config", "latent_channels"})
        if fixed:
            raise ValueError(f"{', '.join(fixed)} cannot be given, because the model's own apply")
        arguments = {
            "latent_channels": config.latent_channels,
            "latents_mean": config.latents_mean,
            "latents_std": config.latents_std,
            **overrides,
        }
        with torch.device("meta"):
            autoencoder = cls(
                vision_config=own_fields(config.vision_config),
                decoder_config=own_fields(config.decoder_config),
                quantizer_config=own_fields(config.quantizer_config),
                **arguments,
            )
        for name in ("vision_model", "latent_proj", "decoder"):
            setattr(autoencoder, name, getattr(model, name))
        return autoencoder.train(model.training)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, **kwargs) -> Self:
        """
        Loads a folder or Hub repository written by this class, or one written by [`AtokenModel`].

        Args:
            pretrained_model_name_or_path: folder or Hub name. The file `config.json` tells which kind it is.
            kwargs: those of `ModelMixin.from_pretrained` (`subfolder`, `torch_dtype`, `device_map`, ...) and arguments
                of this class, which replace those of `config.json`. Weights are fp32 unless `torch_dtype` says else.

        Raises:
            ValueError: if `config.json` describes neither, or an option is given that loading an AtokenModel does not
                support.
            OSError: if files are missing.
        """
        options = ("cache_dir", "force_download", "local_files_only", "token", "revision", "subfolder")
        hub = {name: kwargs[name] for name in options if kwargs.get(name) is not None}
        config = cls.load_config(pretrained_model_name_or_path, **hub)
        if "_class_name" in config or "model_type" not in config:
            return super().from_pretrained(pretrained_model_name_or_path, **kwargs)
        if config["model_type"] != "atoken":
            raise ValueError(
                "pretrained_model_name_or_path must hold an AutoencoderAtoken or an AtokenModel; config.json of "
                f"{pretrained_model_name_or_path} has the model_type {config['model_type']!r}"
            )
        kwargs = {name: value for name, value in kwargs.items() if value is not None and name not in _LOADING_ONLY}
        unsupported = sorted(name for name in _UNSUPPORTED if kwargs.pop(name, False))
        if unsupported:
            raise ValueError(
                f"{', '.join(unsupported)} cannot be used with the folder of an AtokenModel: load it without, "
                "save_pretrained, and load the result"
            )
        overrides = {name: kwargs.pop(name) for name in cls._get_init_keys(cls) & kwargs.keys()}
        torch_dtype = kwargs.pop("torch_dtype", torch.float32)
        kwargs.setdefault("dtype", torch_dtype)
        with_info = kwargs.pop("output_loading_info", False)
        model_config = AtokenConfig.from_pretrained(pretrained_model_name_or_path, **hub)
        model_config.text_config = model_config.gaussian_config = None
        model, info = _AutoencoderOnly.from_pretrained(
            pretrained_model_name_or_path, config=model_config, output_loading_info=True, **kwargs
        )
        autoencoder = cls.from_atoken_model(model, **overrides)
        autoencoder.register_to_config(_name_or_path=str(pretrained_model_name_or_path))
        return (autoencoder, info) if with_info else autoencoder

    @classmethod
    def from_single_file(
        cls,
        pretrained_model_link_or_path: str | Path,
        *,
        quantizer: str | None = None,
        encoder_num_heads: int | None = None,
        **kwargs,
    ) -> Self:
        """
        Loads one file of weights that the authors released, as `atoken convert` does.

        Args:
            pretrained_model_link_or_path: the `.pt` file (or a `.safetensors` file with the same names) on this
                machine. Of a pickle only tensors are read, so it cannot run code.
            quantizer: "fsq" for `atoken-sod`, whose codes are quantized; tensors do not show it. Default: continuous.
            encoder_num_heads: heads of the encoder, which tensors do not show. Default: the released sizes'.
            kwargs: `torch_dtype` (or `dtype`), fp32 by default, `device`, and arguments of this class that its files
                do not state, such as `scaling_factor`. What only says how to download is ignored.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if the file is not an AToken checkpoint, or an option is not known.
        """
        path = str(pretrained_model_link_or_path)
        if "://" in path:
            raise ValueError(
                f"pretrained_model_link_or_path must be a file on this machine, got {path}: download it first, for "
                "example with hf_hub_download"
            )
        ignored = (*_LOADING_ONLY, "cache_dir", "force_download", "local_files_only", "token", "revision")
        kwargs = {name: value for name, value in kwargs.items() if value is not None and name not in ignored}
        placement = {name: kwargs.pop(name) for name in ("torch_dtype", "dtype", "device") if name in kwargs}
        unknown = sorted(kwargs.keys() - cls._get_init_keys(cls))
        if unknown:
            raise ValueError(
                f"{', '.join(unknown)} cannot be given with a single file: its tensors say how the model is built"
            )
        model = convert_original_checkpoint(path, quantizer=quantizer, encoder_num_heads=encoder_num_heads)
        dtype = placement.get("torch_dtype", placement.get("dtype", torch.float32))
        return cls.from_atoken_model(model, **kwargs).to(placement.get("device", "cpu"), dtype)

    def save_pretrained(self, save_directory: str | Path, *args, **kwargs) -> None:
        """
        Writes weights and configuration, and the code if this class runs as remote code or is being exported.

        Args:
            save_directory: folder, created if there is none.
            args, kwargs: as in `ModelMixin.save_pretrained`.
        """
        if self._auto_class is not None:
            Path(save_directory).mkdir(parents=True, exist_ok=True)
            for source in _code_files(Path(sys.modules[type(self).__module__].__file__)):
                target = Path(save_directory, source.name)
                if not target.exists() or not target.samefile(source):
                    shutil.copyfile(source, target)
        super().save_pretrained(save_directory, *args, **kwargs)


def _code_files(source: Path) -> list[Path]:
    """A file and the siblings that it names, which is all that diffusers copies from a local folder."""
    siblings = re.findall(r"^from \.(\w+) import", source.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [source, *(source.with_name(f"{sibling}.py") for sibling in sorted(set(siblings)))]


def own_fields(config) -> dict[str, Any] | None:
    """The arguments that a configuration class of ours declares, without what transformers adds."""
    if config is None:
        return None
    added = {field.name for field in fields(PreTrainedConfig)}
    values = {field.name: getattr(config, field.name) for field in fields(config) if field.name not in added}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
