"""`atoken export` of a generator: a repository that a process without our package can generate with."""

import json
import os
import subprocess
import sys
import sysconfig

import pytest
import torch

from atoken.conversion_atoken import OFFICIAL_LICENSE

from ..cli_samples import run, run_json
from ..generation.helpers import lightning_pipeline, token_pipeline
from ..generation.media_helpers import media_pipeline

MAKERS = {
    "LightningDiTPipeline": lightning_pipeline,
    "TextToMediaPipeline": media_pipeline,
    "TokenBridgePipeline": token_pipeline,
}

# What a user's process does that has diffusers, and not our package.
STRANGER = """
import importlib.util, sys
import torch
from diffusers import DiffusionPipeline

assert importlib.util.find_spec("atoken") is None, "our package can be seen"
folder, expected, name = sys.argv[1:]
pipeline = DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)
assert type(pipeline).__name__ == name
pipeline.set_progress_bar_config(disable=True)
made = pipeline("red star", num_inference_steps=3, generator=torch.Generator().manual_seed(0), output_type="pt").images
torch.testing.assert_close(made, torch.load(expected, weights_only=True), atol=1e-4, rtol=0)
print("all loaded")
"""


@pytest.fixture(scope="module", params=MAKERS)
def exported(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("generator")
    pipeline = MAKERS[request.param]()
    pipeline.save_pretrained(folder / "source")
    generator = torch.Generator().manual_seed(0)
    images = pipeline("red star", num_inference_steps=3, generator=generator, output_type="pt").images
    torch.save(images, folder / "expected.pt")
    facts = run_json("export", folder / "source", folder / "repository", "--license", "apache-2.0")
    assert facts["output"] == str(folder / "repository")
    return request.param, folder


def test_a_process_without_our_package_generates_the_same(exported, tmp_path):
    name, folder = exported
    site = sysconfig.get_path("purelib")
    # Packages, but not the links of editable installations.
    environment = {**os.environ, "PYTHONPATH": site, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"}
    arguments = [str(folder / "repository"), str(folder / "expected.pt"), name]
    result = subprocess.run(
        [sys.executable, "-S", "-c", STRANGER, *arguments],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    assert "all loaded" in result.stdout


def test_files_of_the_repository(exported):
    name, folder = exported
    repository = folder / "repository"
    index = json.loads((repository / "model_index.json").read_text())
    assert index["_class_name"][1] == name
    of_texts = name == "TextToMediaPipeline"
    # The transformer of texts is one of diffusers.
    for part in ("vae",) if of_texts else ("transformer", "vae"):
        module, _ = index[part]
        assert (repository / part / f"{module}.py").is_file()
    card = (repository / "README.md").read_text()
    assert "library_name: diffusers" in card and "license: apache-2.0" in card
    assert ("pipeline_tag: text-to-video" if of_texts else "'red star'") in card


def test_what_is_refused(exported, tmp_path):
    _, folder = exported
    source = folder / "source"
    result = run("export", source, tmp_path / "out", code=2)
    assert "--license: a generator's files state none" in result.stderr
    result = run("export", source, source, "--license", "mit", code=2)
    assert "is MODEL itself" in result.stderr
    result = run("export", source, tmp_path / "out", "--license", "mit", "--dtype", "bfloat16", code=2)
    assert "--dtype: it does not go with a generator" in result.stderr
    (tmp_path / "full").mkdir()
    (tmp_path / "full/note.txt").write_text("mine")
    result = run("export", source, tmp_path / "full", "--license", "mit", "--overwrite", code=1)
    assert "is no generator's folder, so it is not replaced" in result.stderr
    assert not (tmp_path / "out").exists()


def test_the_research_license_goes_along(exported, tmp_path):
    _, folder = exported
    run_json("export", folder / "source", tmp_path / "out", "--license", OFFICIAL_LICENSE)
    assert "research only" in (tmp_path / "out/LICENSE_NOTICE.md").read_text()
    assert f"license_name: {OFFICIAL_LICENSE}" in (tmp_path / "out/README.md").read_text()
