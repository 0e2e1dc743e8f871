"""Some frames of a video file, without decoding what lies before or behind them."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image

from atoken.processing.media_reading_atoken import upright
from atoken.processing.pil_decoding_atoken import DECODING_ERRORS, pil_to_rgb

# Frames in the whole video and its frames per second -> the indices of those to read, ascending.
Select = Callable[[int, float], Sequence[int]]

_FPS = 25.0  # of files that do not say


def read_frames(media: Path | str | bytes, select: Select) -> torch.Tensor:
    """
    Reads the selected frames of a video or an animated picture, (T, 3, H, W) uint8.

    Only the part of a video that they lie in is decoded.

    Raises:
        ValueError: it is damaged, has no frames, or has not those that were selected.
    """
    try:
        if _is_webp(media):
            frames, fps = _decode_webp(media)
            indices = list(select(len(frames), fps))
        else:
            frames, indices = _decode_selected(media, select)
    except (av.FFmpegError, *DECODING_ERRORS) as error:
        if type(error) is ValueError:
            raise
        raise ValueError(f"media must be a video that can be decoded, got {_label(media)}: {error}") from error
    return torch.from_numpy(np.stack([frames[index] for index in indices])).permute(0, 3, 1, 2)
