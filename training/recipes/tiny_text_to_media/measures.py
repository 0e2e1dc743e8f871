"""What is written into records: shares of generated images and clips that are right, and of what they could reach."""

from collections.abc import Sequence
from typing import Any

import torch

from atoken.evaluation.metrics.scene_words import shares_right
from atoken.miniature.scenes import Scene


def share_of(found: dict[str, float], ceiling: dict[str, float]) -> dict[str, float]:
    """Gives shares of the ceiling's shares."""
    return {name: found[name] / ceiling[name] for name in found if ceiling[name]}


def right_in(scenes: Sequence[Scene], told: dict[str, torch.Tensor]) -> dict[str, float]:
    """Gives shares of pictures or clips that are told to show what their scenes say; see `shares_right`."""
    return shares_right([scene.facts() for scene in scenes], told)


def as_facts(scenes: Sequence[Scene], told: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Gives shares that are right with the number of pictures."""
    return {"count": len(scenes), **right_in(scenes, told)}
