"""How images and videos are sampled: sizes, guidance, and times that are shifted towards noise for larger ones."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from .flow_sampling_atoken import FlowSampling

# Tokens of a frame between which the shift grows from 1 to 3: 256 x 256 and 1024 x 1024 pixels in patches of 16.
_FEW, _MANY = 256, 4096


def time_shift(tokens_per_frame: int, latent_frames: int) -> float:
    """
    Gives a of t -> a t / (1 + (a - 1) t), where 1 is noise: the more tokens, the more noise hides the same detail.

    It is that of Open-Sora 2.0 (Peng et al., 2025), (1 + 2 (n - 256) / 3840) sqrt(T), in training and sampling.
    """
    return (1 + 2 * (tokens_per_frame - _FEW) / (_MANY - _FEW)) * math.sqrt(latent_frames)


@dataclass(frozen=True)
class MediaSampling:
    """
    Holds the size of what is made, and how it is sampled.

    Args:
        height, width: in pixels.
        num_inference_steps: Euler steps.
        guidance_scale: g of v = v_null + g (v_text - v_null); 1 is off.
        guidance_rescale: from 0 to 1, how far guided data is brought back to the standard deviation of unguided data.
        guidance_interval: lowest and highest time, both included, at which guidance is on; 1 is noise.
        shift: of times, see `time_shift`; None takes what that says, 1 is for even steps.
    """

    height: int
    width: int
    num_inference_steps: int = 50
    guidance_scale: float = 4.5
    guidance_rescale: float = 0.0
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    shift: float | None = None

    def flow(self, tokens_per_frame: int, latent_frames: int) -> FlowSampling:
        """
        Gives the settings of the steps from noise to data.

        Raises:
            ValueError: naming the setting that does not fit.
        """
        return FlowSampling(
            num_inference_steps=self.num_inference_steps,
            guidance_scale=self.guidance_scale,
            guidance_interval=tuple(self.guidance_interval),
            shift=time_shift(tokens_per_frame, latent_frames) if self.shift is None else self.shift,
            guidance_rescale=self.guidance_rescale,
        )


# The paper's sizes (section 5.4), and its guidance for videos.
IMAGES = MediaSampling(256, 256)
VIDEOS = MediaSampling(192, 336, guidance_scale=9.0)


def media_sampling(latent_frames: int, *settings: tuple[str, Mapping[str, Any] | None]) -> MediaSampling:
    """
    Merges settings, the later of which count first.

    Args:
        latent_frames: 1 for images.
        settings: each a name for errors, and values by the names of `MediaSampling`; None leaves what was before.

    Raises:
        ValueError: there is no such setting.
    """
    merged: dict[str, Any] = dict(vars(IMAGES if latent_frames == 1 else VIDEOS))
    names = [field.name for field in fields(MediaSampling)]
    for name, values in settings:
        if unknown := sorted((values or {}).keys() - set(names)):
            raise ValueError(f"{name} must have the settings {', '.join(names)}, got {', '.join(unknown)}")
        merged |= {key: value for key, value in (values or {}).items() if value is not None}
    return MediaSampling(**merged)
