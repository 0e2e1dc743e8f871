"""Pictures in other colors, of which stage 1 learns: a structure has no color, so none may tell it.

Training has few colors, and each has most of the shapes: without this, a model learns which shapes a color has, and
makes one of them of a picture that shows a new pair.
"""

import torch
from PIL import Image
from torchvision.transforms import functional as F

_BRIGHTNESS, _SATURATION, _HUE = (0.5, 1.5), (0.0, 2.0), (-0.5, 0.5)  # hue in turns


def recolored(picture: Image.Image, generator: torch.Generator) -> Image.Image:
    """
    Turns a picture's hues by a random angle and scales its brightness and saturation; keeps alpha.

    Args:
        picture: in mode RGBA.
        generator: draws the changes.
    """
    brightness, saturation, hue = (
        low + (high - low) * float(torch.rand((), generator=generator))
        for low, high in (_BRIGHTNESS, _SATURATION, _HUE)
    )
    changed = F.adjust_hue(F.adjust_brightness(picture.convert("RGB"), brightness), hue)
    changed = F.adjust_saturation(changed, saturation)
    changed.putalpha(picture.getchannel("A"))
    return changed
