"""The networks of the perceptual losses.

They are found before the first step. What is missing is named with how to get it; a loss is left out only where
the user says so.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from .perceptual import DISTANCES, ClipLoss, Crops, StLpipsLosses, TrunkLosses, VggLosses

CLIP = "openai/clip-vit-base-patch16"
# Ways to name a part -> the part of the loss, and which kind of weights its trunk has.
PARTS = {
    "l1": ("l1", None),
    "lpips": ("lpips", "trained"),
    "st-lpips": ("st_lpips", "trained"),
    "st-lpips-alex": ("st_lpips_alex", "trained"),
    "gram": ("gram", "trained"),
    "clip": ("clip", None),
    "log_mse": ("log_mse", None),
    "lpips-random": ("lpips", "random"),
    "gram-random": ("gram", "random"),
}
# Factors of ST-LPIPS and of Gram on its trunk where they take the place of LPIPS and its Gram: with the paper's 10 and
# 1000, ST-LPIPS weighs 0.43 (VGG) or 0.66 (AlexNet), and Gram 0.03 or 0.12. Their scales are their own, and LPIPS was
# not at hand to compare with. So its 10 is read as a ratio of pulls: the gradient of ST-LPIPS in the decoder's output
# has ten times the norm of that of L1 with weight 1, and the gradient of Gram, which differs 100-fold between photos,
# three times. With weight 1, ST-LPIPS has 23 and 15 times the norm, Gram 99 and 25 times (medians over held-out photos
# as atoken-tiny reconstructs them; VGG at 224 px, AlexNet on crops of 128).
IN_PLACE_OF_LPIPS = {"st_lpips": (0.043, 3.0e-5), "st_lpips_alex": (0.066, 1.2e-4)}
# AlexNet is for a CPU: it sees one crop in four.
ALEX_CROPS = Crops(side=128, share=0.25)


@dataclass(frozen=True)
class ImageLosses:
    """
    Holds the parts of the image loss that a run has.

    Attributes:
        weights: part -> weight.
        random: whether the VGG trunk has random weights.

    Raises:
        ValueError: several distances, which would each need a pass of its own.
    """

    weights: dict[str, float]
    random: bool = False

    def __post_init__(self):
        distances = [part for part in DISTANCES if part in self.weights]
        if len(distances) > 1:
            raise ValueError(f"losses must have one distance, as one trunk is passed, got {', '.join(distances)}")

    @classmethod
    def choose(cls, text: str | None, weights: dict[str, float]) -> "ImageLosses":
        """
        Chooses parts by their names.

        Args:
            text: such as "l1,gram-random", or None for all of the stage's.
            weights: the stage's. ST-LPIPS may also take the place of LPIPS, see `IN_PLACE_OF_LPIPS`.

        Raises:
            ValueError: an unknown part, one without a weight, or parts that cannot share one trunk.
        """
        if text is None:
            return cls(dict(weights))
        weights = _with_st_lpips(text.split(","), weights)
        chosen, kinds = {}, set()
        for name in text.split(","):
            if name not in PARTS:
                raise ValueError(f"losses must be among {', '.join(PARTS)}, got {name!r}")
            part, kind = PARTS[name]
            if part not in weights:
                raise ValueError(f"losses must be among those that the stage weighs, {', '.join(weights)}, got {part}")
            chosen[part] = weights[part]
            kinds.add(kind)
        if {"random", "trained"} <= kinds:
            raise ValueError(f"losses must be of one kind for LPIPS and Gram, which share one trunk, got {text!r}")
        return cls(chosen, "random" in kinds)

    def load(
        self, weights: str | None, clip: str, views: Iterable[str] = ()
    ) -> tuple[TrunkLosses | None, ClipLoss | None]:
        """
        Loads the networks that the parts need.

        Args:
            weights: file of the trunk: torchvision's VGG-16 for LPIPS and for Gram alone, stlpips-pytorch's for
                ST-LPIPS. None for torch's download folder, or for that installed package.
            clip: folder or Hub name of a CLIP model.
            views: parts of the loss of 3D objects, which may have LPIPS as well.

        Raises:
            FileNotFoundError: weights are missing; says which, how to get them and how to go without.
        """
        without = '; or leave the part out of `losses`, such as "l1"'
        trunk = tower = None
        try:
            if "st_lpips" in self.weights:
                trunk = StLpipsLosses("vgg", weights)
            elif "st_lpips_alex" in self.weights:
                trunk = StLpipsLosses("alex", weights, ALEX_CROPS)
            elif {"lpips", "gram"} & {*self.weights, *views}:
                trunk = VggLosses(weights, random=self.random)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{error}{without}") from error
        if "clip" in self.weights:
            tower = _load_clip(clip, without)
        return trunk, tower


def _with_st_lpips(names: list[str], weights: dict[str, float]) -> dict[str, float]:
    """Weighs ST-LPIPS, if it is named, and Gram on its trunk where a stage weighs LPIPS."""
    for name in names:
        part, _ = PARTS.get(name, (None, None))
        if part in IN_PLACE_OF_LPIPS and part not in weights and "lpips" in weights:
            distance, gram = IN_PLACE_OF_LPIPS[part]
            return weights | {part: distance * weights["lpips"], "gram": gram * weights.get("gram", 0.0)}
    return weights


def _load_clip(name: str, without: str) -> ClipLoss:
    from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

    try:
        tower = CLIPVisionModelWithProjection.from_pretrained(name)
        processor = CLIPImageProcessor.from_pretrained(name)
    except OSError as error:
        raise FileNotFoundError(
            f"clip: {name} is neither a folder nor could it be downloaded. To get it: hf download {name}{without}"
        ) from error
    return ClipLoss(tower, tuple(processor.image_mean), tuple(processor.image_std))
