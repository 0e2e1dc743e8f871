"""Autoencoders of diffusers, of which corpora are made as of AToken: of pictures, and of videos with 1 + r k frames."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import try_to_load_from_cache
from safetensors import safe_open

from .loading import digest_of_weights, resolve_device

# AutoencoderKL: SD, SD3, FLUX.1, and VA-VAE once it is converted; all turn (B, 3, H, W) into (B, C, h, w).
OF_PICTURES = ("AutoencoderKL", "AutoencoderDC")
# These turn (B, 3, 1 + r k, H, W) into (B, C, 1 + k, h, w); a picture is a video of one frame.
OF_VIDEOS = ("AutoencoderKLWan", "AutoencoderKLHunyuanVideo", "AutoencoderKLCosmos", "AutoencoderKLQwenImage")
CLASSES = OF_PICTURES + OF_VIDEOS
# A picture of this side, and a clip of so many frames, show by how much a model compresses.
_PROBE_SIDE, _PROBE_FRAMES = 128, 17
Encode = Callable[[torch.Tensor], torch.Tensor]
_WEIGHTS = "diffusion_pytorch_model.safetensors"
# Of weights in files, as safetensors names it: any other is loaded as float32.
_HALVES = {"F16": torch.float16, "BF16": torch.bfloat16}


@dataclass(frozen=True)
class LoadedAutoencoder:
    """
    Holds an autoencoder.

    Attributes:
        model: in evaluation mode, on its device.
        name: what leads to it again: an absolute folder, or a Hub name.
        fingerprint: tells autoencoders apart by their configuration and the first values of every tensor.
        channels: of its latents.
        compression: pixels of a side that become one latent.
        frames: r, frames of a video that become one latent frame after the first; 1 of a model of pictures.
    """

    model: Any
    name: str
    fingerprint: str
    channels: int
    compression: int
    frames: int = 1

    @property
    def takes_videos(self) -> bool:
        """Tells whether it is a model of videos."""
        return type(self.model).__name__ in OF_VIDEOS

    @property
    def discrete(self) -> bool:
        """Tells whether it has codes; none of these has."""
        return False

    @torch.no_grad()
    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """
        Encodes (B, 3, T, H, W) in [-1, 1]: (B, C, t, h, w), the mode of the posterior where there is one, unscaled.

        Videos have 1 + r k frames and 1 + k latent frames, pictures one of both.
        """
        given = pixels if self.takes_videos else pixels[:, :, 0]
        encoded = self.model.encode(given.to(self.model.device, self.model.dtype))
        latents = encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latent
        return latents if self.takes_videos else latents[:, :, None]

    @torch.no_grad()
    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Decodes (B, C, t, h, w): (B, 3, T, H, W) in about [-1, 1]."""
        given = latents if self.takes_videos else latents[:, :, 0]
        pixels = self.model.decode(given.to(self.model.device, self.model.dtype)).sample
        return pixels if self.takes_videos else pixels[:, :, None]


@torch.no_grad()
def measured_compression(encode: Encode, takes_videos: bool) -> tuple[int, int, int]:
    """
    Measures by how much a model compresses.

    Args:
        encode: turns (1, 3, T, H, W) into latents (1, C, t, h, w).
        takes_videos: whether T may be more than 1.

    Returns:
        Channels of latents; frames that become one latent frame after the first, 1 of a model of pictures; and pixels
        of a side that become one latent.
    """
    _, channels, _, _, columns = encode(torch.zeros(1, 3, 1, _PROBE_SIDE, _PROBE_SIDE)).shape
    side = _PROBE_SIDE // columns
    if not takes_videos:
        return channels, 1, side
    small = max(2 * side, 32)
    frames = encode(torch.zeros(1, 3, _PROBE_FRAMES, small, small)).shape[2]
    return channels, (_PROBE_FRAMES - 1) // (frames - 1), side


def load_autoencoder(name: str, device: str = "auto", dtype: str | None = None) -> LoadedAutoencoder:
    """
    Loads an autoencoder.

    Args:
        name: a folder, a Hub name, or one with a folder in it behind it, such as "owner/name/vae".
        device: "auto", "cpu" or "cuda".
        dtype: "float32", "bfloat16" or "float16"; None keeps that of the files, float32 where they have several.

    Raises:
        FileNotFoundError: there is no such model.
        ValueError: it is of another class, or the device is not there.
        ImportError: diffusers is not installed.
    """
    try:
        import diffusers
    except ImportError as error:
        raise ImportError('autoencoders need diffusers: pip install "atoken[diffusers]"') from error
    target, place, options = resolve_device(device), name, {}
    if Path(name).is_dir():
        place = name = str(Path(name).absolute())
    elif name.count("/") > 1:
        owner, repo, options["subfolder"] = name.split("/", 2)
        place = f"{owner}/{repo}"
    try:
        config = diffusers.AutoencoderKL.load_config(place, **options)
        class_name = config.get("_class_name")
        if class_name not in CLASSES:
            raise ValueError(f"autoencoder must be one of {', '.join(CLASSES)}, got {class_name} in {name!r}")
        model = getattr(diffusers, class_name).from_pretrained(place, dtype=torch.float32, **options)
    except OSError as error:
        raise FileNotFoundError(
            f"autoencoder must be a folder or a name on the Hub with one of {', '.join(CLASSES)}, got {name!r}, where "
            "there is none"
        ) from error
    # Before the dtype changes, so that it does not depend on the one asked for.
    kept = {key: value for key, value in sorted(model.config.items()) if not key.startswith("_")}
    fingerprint = digest_of_weights([class_name, _as_json(kept)], model.state_dict())
    wanted = getattr(torch, dtype) if dtype else _dtype_of_files(place, options.get("subfolder"))
    model = model.to(target).eval()
    # Only where it changes something: diffusers warns of every change.
    model = model if wanted == model.dtype else model.to(wanted)
    probed = LoadedAutoencoder(model, name, fingerprint, 0, 0)
    channels, frames, side = measured_compression(probed.encode, probed.takes_videos)
    return LoadedAutoencoder(model, name, fingerprint, channels, side, frames)


def _dtype_of_files(place: str, subfolder: str | None) -> torch.dtype:
    """Finds the dtype in which safetensors hold a model that has just been loaded, from a folder or the Hub's cache."""
    index = _loaded_file(place, subfolder, f"{_WEIGHTS}.index.json")
    names = [_WEIGHTS] if index is None else set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    dtypes: set[str] = set()
    for path in (_loaded_file(place, subfolder, Path(name).name) for name in names):
        if path is not None:
            with safe_open(path, "pt") as file:
                dtypes |= {file.get_slice(key).get_dtype() for key in file.keys()}
    # Counters are integers.
    floats = {dtype for dtype in dtypes if dtype.startswith(("F", "BF"))}
    return _HALVES.get(floats.pop(), torch.float32) if len(floats) == 1 else torch.float32


def _loaded_file(place: str, subfolder: str | None, name: str) -> Path | None:
    if Path(place).is_dir():
        path = Path(place) / name
        return path if path.is_file() else None
    found = try_to_load_from_cache(place, f"{subfolder}/{name}" if subfolder else name)
    return Path(found) if isinstance(found, str) else None


def _as_json(value: Any) -> Any:
    """Gives what JSON makes of a value: no tuples."""
    if isinstance(value, dict):
        return {str(key): _as_json(each) for key, each in value.items()}
    return [_as_json(each) for each in value] if isinstance(value, (list, tuple)) else value
