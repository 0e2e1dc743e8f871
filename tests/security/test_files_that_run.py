"""Files that would run something when they are read: YAML with objects in it, pickles, names that become folders."""

import os
import pickle
import zipfile

import pytest
import torch

from atoken.conversion_atoken import read_original_state_dict
from atoken.evaluation.configuration import EvaluationConfig
from atoken.evaluation.metrics.weight_files import read_weights
from atoken.evaluation.yaml_files import read_yaml
from atoken.generation.released_weights_atoken import read_state
from atoken.training.data.tasks import read_data
from atoken.training.generators.stage import GeneratorStage
from atoken.training.mllm.sources import read_sources
from atoken.training.mllm.stage import read_stage
from atoken.training.tokenizer.curriculum import Stage

from .memory import memory_below

YAML_READERS = {
    "evaluation": EvaluationConfig.read,
    "curriculum": Stage.read,
    "generators": GeneratorStage.read,
    "language model": read_stage,
    "conversations": read_sources,
    "data": read_data,
}
TAGS = {
    "apply": "name: !!python/object/apply:os.mkdir [{mark}]\n",
    "new": "name: !!python/object/new:os.mkdir [{mark}]\n",
    "module": "name: !!python/module:antigravity\n",
    "name": "name: !!python/name:os.mkdir\n",
}


@pytest.mark.parametrize("reader", YAML_READERS)
@pytest.mark.parametrize("tag", TAGS)
def test_yaml_makes_no_objects(reader, tag, tmp_path):
    mark = tmp_path / "mark"
    (tmp_path / "a.yaml").write_text(TAGS[tag].format(mark=mark))
    with pytest.raises(ValueError, match=r"must be YAML, got .*a\.yaml.*could not determine a constructor"):
        YAML_READERS[reader](tmp_path / "a.yaml")
    assert not mark.exists()


LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 12)
)
YAML = {
    "aliases of aliases": (LAUGHS, "at most 1,000,000 values"),
    "a list in itself": ("a: &a [*a]\n", "must not contain itself"),
    "depth": ("[" * 100_000, "nested too deeply"),
}


@pytest.mark.parametrize("case", YAML)
def test_yaml_of_extreme_size(case, tmp_path):
    text, message = YAML[case]
    (tmp_path / "a.yaml").write_text(text)
    with memory_below(200), pytest.raises(ValueError, match=f"data must be YAML.*{message}"):
        read_yaml(tmp_path / "a.yaml", "data")


@pytest.mark.parametrize("name", ["../../evil", "/evil", "..", ".hidden", "a\\b", "a:b"])
def test_names_of_an_evaluation_are_no_paths(name, tmp_path):
    text = f"title: a\nsets:\n  {name!r}: {{set: images, path: .}}\ntokenizers: {{}}\n"
    (tmp_path / "a.yaml").write_text(text.replace("\\\\", "\\"))
    with pytest.raises(ValueError, match="names in sets must be fit for a folder"):
        EvaluationConfig.read(tmp_path / "a.yaml")


class Evil:
    def __init__(self, mark: str):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (self.mark,)


PICKLE_READERS = {
    "official weights": read_original_state_dict,
    "generators": lambda path: read_state(path, ("state_dict",)),
    "networks of measures": lambda path: read_weights(path, "lpips"),
}


@pytest.mark.parametrize("reader", PICKLE_READERS)
@pytest.mark.parametrize("form", ["zip", "legacy", "bare"])
def test_pickles_run_nothing(reader, form, tmp_path):
    mark, path = tmp_path / "mark", tmp_path / "a.pt"
    state = {"weight": torch.zeros(2), "evil": Evil(str(mark))}
    if form == "bare":
        path.write_bytes(pickle.dumps(state["evil"]))
    else:
        torch.save(state, path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(ValueError, match=r"a\.pt"):
        PICKLE_READERS[reader](path)
    assert not mark.exists() and (form != "zip" or zipfile.is_zipfile(path))
