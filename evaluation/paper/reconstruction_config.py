"""Which tokenizers reconstruct photos and clips beside each other, and what is missing for more."""

from collections.abc import Sequence
from typing import Any

from .workspace import Workspace

CONTINUOUS, DISCRETE = "atoken-tiny", "atoken-tiny-d"


def reconstruction_config(
    workspace: Workspace, sets: dict[str, Any], codecs: dict[str, Any], wanted: Sequence[str]
) -> tuple[dict[str, Any], list[str]]:
    """
    Gives the harness's configuration: the tiny checkpoints, codecs, PCA where it was fitted, measures at hand.

    Args:
        workspace: where inputs are.
        sets: of media, as the harness names them.
        codecs: other tokenizers.
        wanted: measures beside PSNR and SSIM.

    Returns:
        The configuration, and a line for everything that is missing.
    """
    measures, missing = workspace.measures_at_hand(*wanted)
    tokenizers: dict[str, Any] = {
        name: {"adapter": "atoken", "model": workspace.checkpoint(name)} for name in (CONTINUOUS, DISCRETE)
    }
    tokenizers |= codecs
    if workspace.pca:
        tokenizers["PCA, 768 bits"] = {"adapter": "pca", "path": workspace.pca, "bits_per_token": 768}
    else:
        missing.append("PCA: there is no data/pca.safetensors; `make paper` fits it after collecting data")
    return {"measures": ["psnr", "ssim", *measures], "sets": sets, "tokenizers": tokenizers}, missing
