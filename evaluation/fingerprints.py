"""What tells weights and files apart, so that an evaluation goes on only with those that it began with."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from atoken.tokenizing.loading import LoadedModel, digest_of_weights


def network_fingerprint(network: nn.Module) -> str:
    """Computes 32 hexadecimal digits of the shapes and first values of a network's weights; see `digest_of_weights`."""
    return digest_of_weights([], network.state_dict())


def model_fingerprints(loaded: LoadedModel, parts: Sequence[str]) -> dict[str, str]:
    """
    Computes 32 hexadecimal digits of each of some parts of a model, and of its settings.

    Args:
        loaded: the model with its processor.
        parts: modules of `AtokenModel` by their names, such as "vision_model".

    Returns:
        Digests by the names of parts, and of the configurations of model and processor by "settings".
    """
    processor = loaded.processor
    configured = (loaded.model.config, processor.image_processor, processor.video_processor, processor.voxel_processor)
    digests = {part: network_fingerprint(getattr(loaded.model, part)) for part in parts}
    return {**digests, "settings": settings_fingerprint(*configured)}


def settings_fingerprint(*configured: Any) -> str:
    """Computes 32 hexadecimal digits of configurations, or of whatever else has a `to_json_string`."""
    return digest_of_weights([each.to_json_string() for each in configured], {})


def listing_fingerprint(root: Path, files: Iterable[Path]) -> str:
    """Computes 32 hexadecimal digits of files below a folder: of their names, sizes and times of change."""
    facts = ((path.relative_to(root).as_posix(), path.stat()) for path in files)
    lines = sorted(f"{name}\t{found.st_size}\t{found.st_mtime_ns}\n" for name, found in facts)
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:32]
