"""Embeddings of all stages of a curriculum: what is embedded, in which order, and that no stage may be missing."""

import json

import numpy as np
import pytest

from atoken.evaluation.models.atoken_features import AtokenFeatures
from atoken.evaluation.sets.miniature_sets import miniature_classification
from atoken.training.recipes.tiny.stage_embeddings import SIZE, main
from atoken_headers.shipped import CHECKPOINTS


@pytest.fixture
def run(tmp_path):
    """A run whose stages are embedded checkpoints."""
    for stage, name in {1: "atoken-tiny", 2: "atoken-tiny", 3: "atoken-tiny", 4: "atoken-tiny-d"}.items():
        (tmp_path / f"stage-{stage}").mkdir()
        (tmp_path / f"stage-{stage}/model").symlink_to(CHECKPOINTS / name)
    return tmp_path


def test_all_panels_have_the_same_pictures(run):
    main(run, run / "new/embeddings.json", 16)
    found = json.loads((run / "new/embeddings.json").read_text())
    shapes = {name: np.shape(each["embeddings"]) for name, each in found.items()}
    assert shapes == {
        "stage-1": (16, 192),
        "stage-2": (16, 192),
        "stage-3": (16, 192),
        "stage-3 latents": (16, 48),
        "stage-4 latents": (16, 48),
    }
    assert all(each["labels"] == [index % 8 for index in range(16)] for each in found.values())
    picture = miniature_classification("image", "shape", 16, size=SIZE).samples[5].load()
    expected = AtokenFeatures(str(CHECKPOINTS / "atoken-tiny-d"), "latents").embed([picture])[0]
    np.testing.assert_allclose(found["stage-4 latents"]["embeddings"][5], expected, atol=1e-4)


def test_a_missing_stage_is_named(run):
    (run / "stage-2/model").unlink()
    with pytest.raises(FileNotFoundError, match="stage 2"):
        main(run, run / "embeddings.json", 16)
    assert not (run / "embeddings.json").exists()
