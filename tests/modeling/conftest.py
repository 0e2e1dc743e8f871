"""Fixtures of the modeling tests: tiny random models, and the golden numbers of the official code."""

from pathlib import Path

import pytest
from safetensors.torch import load_file

from .helpers import make_model

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="session")
def model():
    """A tiny continuous model; shared, so tests must leave it as it is."""
    return make_model()


@pytest.fixture(scope="session")
def discrete_model():
    """A tiny discrete model; shared, so tests must leave it as it is."""
    return make_model(discrete=True)


@pytest.fixture(scope="session")
def text_image_model():
    """A tiny model with a text tower; shared, so tests must leave it as it is."""
    return make_model(text=True)


@pytest.fixture(scope="session")
def golden_folder() -> Path:
    return GOLDEN


@pytest.fixture(scope="session")
def golden(golden_folder):
    """A function from "continuous" or "discrete" to its golden tensors."""
    return lambda name: load_file(golden_folder / f"{name}.tensors.safetensors")
