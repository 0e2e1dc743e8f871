"""Features of objects: whole or not there, of one corpus, and on from where they were."""

import pytest
import torch

from atoken.training.generators.image_to_object.features import ObjectFeatures, write_features

FACTS = {"features": "conditions", "corpus": "ab12"}


def tensor(row: int) -> torch.Tensor:
    return torch.full((2, 3), row, dtype=torch.bfloat16)


def test_what_is_written_is_read(tmp_path):
    assert list(write_features(tmp_path, FACTS, 150, tensor)) == [64, 128, 150]
    features = ObjectFeatures(tmp_path, FACTS)
    assert len(features) == 150
    for row in (149, 0, 64, 63):
        assert torch.equal(features[row], tensor(row))


def test_it_goes_on_where_it_was_stopped(tmp_path):
    asked = []

    def fails(row):
        asked.append(row)
        if row == 70:
            raise RuntimeError
        return tensor(row)

    with pytest.raises(RuntimeError):
        list(write_features(tmp_path, FACTS, 130, fails))
    with pytest.raises(ValueError, match="features must be of all objects, got .* without row 64"):
        ObjectFeatures(tmp_path, FACTS)
    asked.clear()
    list(write_features(tmp_path, FACTS, 130, lambda row: (asked.append(row), tensor(row))[1]))
    assert asked == list(range(64, 130))


def test_features_of_another_corpus(tmp_path):
    list(write_features(tmp_path, FACTS, 2, tensor))
    for act in (
        lambda facts: ObjectFeatures(tmp_path, facts),
        lambda facts: list(write_features(tmp_path, facts, 2, tensor)),
    ):
        with pytest.raises(ValueError, match="features must be those of corpus 'cd34', got 'ab12'"):
            act({**FACTS, "corpus": "cd34"})


def test_a_folder_without_features(tmp_path):
    with pytest.raises(FileNotFoundError, match="features must be a folder with features.json"):
        ObjectFeatures(tmp_path, FACTS)
