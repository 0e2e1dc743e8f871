"""`atoken export --space`: a Space that shows a model."""

import runpy
import sys
from importlib.metadata import version

import pytest
import yaml
from huggingface_hub import HfApi

from atoken_app import main as atoken_main
from atoken_headers.shipped import CHECKPOINTS

from ..cli_samples import run, run_json


def header_of(folder):
    _, header, _ = (folder / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(header)


@pytest.fixture
def space(tmp_path):
    facts = run_json("export", "atoken-tiny", tmp_path / "space", "--space", "--license", "apache-2.0")
    assert facts["model"] == "atoken-tiny" and facts["license"] == "apache-2.0"
    return tmp_path / "space"


def test_the_model_lies_in_it(space):
    for name in ("config.json", "model.safetensors", "processor_config.json"):
        assert (space / "models/atoken-tiny" / name).read_bytes() == (CHECKPOINTS / "atoken-tiny" / name).read_bytes()
    header = header_of(space)
    assert header["sdk"] == "gradio" and header["sdk_version"] == version("gradio")
    assert header["app_file"] == "app.py" and header["license"] == "apache-2.0"
    assert (space / "requirements.txt").read_text() == f"atoken[demo]=={version('atoken')}\n"


def test_its_app_serves_the_model(space, monkeypatch):
    seen = []
    monkeypatch.setattr(atoken_main, "main", lambda: seen.append(sys.argv[1:]))
    monkeypatch.setattr(sys, "argv", ["app.py"])
    runpy.run_path(str(space / "app.py"))
    assert seen == [["serve", "--model", "models/atoken-tiny", "--host", "0.0.0.0", "--port", "7860"]]


def test_links_of_a_generator_become_copies(tmp_path):
    run("export", CHECKPOINTS / "lightning-dit-tiny", tmp_path / "space", "--space", "--license", "apache-2.0")
    vae = tmp_path / "space/models/lightning-dit-tiny/vae"
    assert vae.is_dir() and not vae.is_symlink() and (vae / "model.safetensors").is_file()


def test_it_is_replaced_only_by_wish_and_nothing_else_is(space, tmp_path):
    again = ("export", "atoken-tiny", space, "--space", "--license", "apache-2.0", "--name", "me/second")
    assert "--overwrite" in run(*again, code=1).stderr
    run(*again, "--overwrite")
    assert header_of(space)["title"] == "second"
    (tmp_path / "other").mkdir()
    (tmp_path / "other/app.py").write_text("print('mine')\n")
    result = run("export", "atoken-tiny", tmp_path / "other", *again[3:], "--overwrite", code=1)
    assert "is no Space, so it is not replaced" in result.stderr


def test_bad_options(tmp_path):
    out = tmp_path / "space"
    assert (
        "--dtype: it does not go with --space"
        in run("export", "atoken-tiny", out, "--space", "--dtype", "float16", code=2).stderr
    )
    assert "none of that name" in run("export", "none", out, "--space", "--license", "mit", code=1).stderr
    assert not out.exists()


def test_it_is_uploaded_as_a_space(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(HfApi, "create_repo", lambda self, name, **options: calls.append((name, options)))
    monkeypatch.setattr(HfApi, "upload_folder", lambda self, **options: calls.append(options) or "https://there")
    facts = run_json(
        "export", "atoken-tiny", tmp_path / "space", "--space", "--license", "apache-2.0", "--push", "me/shown"
    )
    assert facts["pushed"] == "https://there"
    name, created = calls[0]
    assert name == "me/shown" and created["repo_type"] == "space" and created["space_sdk"] == "gradio"
    assert calls[1]["repo_id"] == "me/shown" and calls[1]["repo_type"] == "space"
