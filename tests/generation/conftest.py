"""Golden numbers of the generators' public code, and what converts them."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

GOLDEN = Path(__file__).parents[1] / "golden"
TOLERANCE = 2e-5  # fp32 on a CPU


class Golden:
    """The numbers of one variant of a golden file."""

    def __init__(self, name: str, variant: str):
        self.config = json.loads((GOLDEN / f"{name}.config.json").read_text())["variants"][variant]
        files = {kind: load_file(GOLDEN / f"{name}.{kind}.safetensors") for kind in ("weights", "tensors")}
        self.weights, self._tensors = (
            {key.removeprefix(f"{variant}."): value for key, value in file.items() if key.startswith(f"{variant}.")}
            for file in files.values()
        )

    def __getitem__(self, name: str) -> torch.Tensor:
        return self._tensors[name]

    def gradients(self) -> dict[str, torch.Tensor]:
        start = "train.grad."
        return {key.removeprefix(start): value for key, value in self._tensors.items() if key.startswith(start)}


def assert_close(actual: torch.Tensor, expected: torch.Tensor, relative: bool = False) -> None:
    scale = float(expected.abs().max()) if relative else 1.0
    assert actual.shape == expected.shape
    assert float((actual - expected).abs().max()) <= TOLERANCE * scale


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """The root mean square of the differences, by the standard deviation of what is expected."""
    return float((actual.float() - expected).square().mean().sqrt() / expected.std())


@pytest.fixture(scope="session")
def golden():
    return Golden
