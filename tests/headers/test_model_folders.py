"""Folders of models, found and told apart."""

import json

import pytest

from atoken_headers.model_folders import find_folder, find_model, is_model_folder, weight_files

from ..cli_samples import save_model


def test_other_folders_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="model must be a folder, a Hub name or the name"):
        find_model("./nothing")
    with pytest.raises(FileNotFoundError, match="a folder with a config.json, got"):
        find_model(str(tmp_path))
    with pytest.raises(FileNotFoundError, match="a folder with a one.json or two.json, got"):
        find_folder(str(tmp_path), "one.json", "two.json")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    assert not is_model_folder(tmp_path)
    with pytest.raises(ValueError, match="AtokenModel"):
        weight_files(tmp_path)


def test_one_of_several_files_is_enough(tmp_path):
    (tmp_path / "two.json").write_text("{}")
    assert find_folder(str(tmp_path), "one.json", "two.json") == (tmp_path.resolve(), str(tmp_path.resolve()))


def test_weights_of_several_files(tmp_path):
    model = save_model(tmp_path / "whole")
    model.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert len(weight_files(tmp_path / "whole")) == 1 < len(weight_files(tmp_path / "shards"))
