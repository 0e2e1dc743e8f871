import pytest

from atoken.training.recipes.tiny_mllm.features import DrawnFeatures
from atoken.training.recipes.tiny_mllm.parts import build_parts
from atoken.training.recipes.tiny_mllm.training import fill_features

COUNTS = {"pictures": 2, "pairs": 2, "clips": 1, "orders": 2}


@pytest.fixture(scope="package")
def parts():
    """The model before training, with its processor."""
    return build_parts()


@pytest.fixture(scope="package")
def features(parts, tmp_path_factory):
    """The features of a few subjects."""
    features = DrawnFeatures(tmp_path_factory.mktemp("features"))
    fill_features(COUNTS, features, *parts)
    return features
