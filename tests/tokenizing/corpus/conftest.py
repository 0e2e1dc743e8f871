"""Models and media that the tests of corpora share."""

import pytest

from atoken.tokenizing.loading import load_model

from ...cli_samples import save_model
from .samples import write_folder


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Folders of a continuous and a discrete tiny model."""
    root = tmp_path_factory.mktemp("models")
    save_model(root / "continuous")
    save_model(root / "discrete", discrete=True)
    return root


@pytest.fixture(scope="session")
def loaded(models):
    """The models, loaded."""
    return {name: load_model(str(models / name), "cpu", "float32") for name in ("continuous", "discrete")}


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """A folder of ten pictures in three folders, in two sizes, with captions; nobody may change it."""
    return write_folder(tmp_path_factory.mktemp("pictures"))
