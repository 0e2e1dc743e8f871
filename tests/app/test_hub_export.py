"""`atoken export`: a repository that a process without our package can use."""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import torch
from huggingface_hub import HfApi, ModelCard
from transformers import pipeline

from atoken import AtokenConfig, AtokenModel, AtokenProcessor, AutoencoderAtoken, Gaussians
from atoken.conversion_atoken import OFFICIAL_LICENSE

from ..cli_samples import run, run_json
from ..modeling.helpers import pack, randomize, tiny_config, voxel_tokens

SCORES = {
    "protocol": "whole photos, 8 bit",
    "held_out": {"photos": {"psnr": 27.25, "count": 24}, "clips": {"ssim": 0.9}},
}

# What a user's process does that has transformers and diffusers, and not our package.
STRANGER = """
import importlib.util, sys
import torch
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoProcessor, AutoVideoProcessor
import diffusers

assert importlib.util.find_spec("atoken") is None, "our package can be seen"
folder, expected = sys.argv[1], torch.load(sys.argv[2], weights_only=True)
trust = {"trust_remote_code": True}
assert AutoConfig.from_pretrained(folder, **trust).model_type == "atoken"
model = AutoModel.from_pretrained(folder, **trust).eval()
processor = AutoProcessor.from_pretrained(folder, **trust)
names = [type(c.from_pretrained(folder, **trust)).__name__ for c in (AutoImageProcessor, AutoVideoProcessor)]
assert names == ["AtokenImageProcessor", "AtokenVideoProcessor"], names
inputs = processor(images=[expected["image"].numpy()], videos=[expected["video"].numpy()])
with torch.no_grad():
    encoded = model.encode(inputs.pixel_values, inputs.coords, inputs.cu_seqlens)
    decoded = model.decode(encoded.latents, inputs.coords, inputs.cu_seqlens)
torch.testing.assert_close(decoded.pixel_values, expected["decoded"], atol=1e-5, rtol=0)
media = processor.post_process(decoded.pixel_values, inputs.coords, inputs.cu_seqlens, inputs.media_sizes)
assert [tuple(m.shape[-2:]) for m in media] == [(35, 40), (32, 48)]
vae = diffusers.AutoModel.from_pretrained(folder, subfolder="vae", **trust).eval()
assert type(vae).__name__ == "AutoencoderAtoken"
with torch.no_grad():
    latents = vae.encode(expected["dense"]).latent_dist.mode()
    pixels = vae.decode(latents).sample
torch.testing.assert_close(latents, expected["dense_latents"], atol=1e-5, rtol=0)
torch.testing.assert_close(pixels, expected["dense_pixels"], atol=1e-5, rtol=0)
voxels = [expected[name] for name in ("voxels", "voxel_coords", "voxel_starts")]
with torch.no_grad():
    latents = model.encode(*voxels).latents
    decoded = model.decode_gaussians(latents, *voxels[1:])
assert [len(gaussians) for gaussians in decoded] == [120, 80]
for name, value in expected["gaussians"].items():
    ours = torch.cat([getattr(gaussians, name) for gaussians in decoded])
    torch.testing.assert_close(ours, value, atol=1e-5, rtol=0)
print("all loaded")
"""

# The same process: every part that is saved loads again, the processor has a fingerprint, pipelines run.
PARTS = """
import importlib.util, multiprocessing, pickle, sys
import numpy as np
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModel, AutoProcessor, AutoVideoProcessor, pipeline
import diffusers

if __name__ == "__main__":
    assert importlib.util.find_spec("atoken") is None, "our package can be seen"
    folder, trust = sys.argv[1], {"trust_remote_code": True}
    model = AutoModel.from_pretrained(folder, **trust)
    processor = AutoProcessor.from_pretrained(folder, **trust)
    vae = diffusers.AutoModel.from_pretrained(folder, subfolder="vae", **trust)

    def again(part, auto, name):
        part.save_pretrained(name)
        loaded = auto.from_pretrained(name, **trust)
        assert type(loaded).__name__ == type(part).__name__ and "_modules." in type(loaded).__module__
        if hasattr(part, "state_dict"):
            for key, value in part.state_dict().items():
                assert torch.equal(loaded.state_dict()[key], value), key
        return loaded

    again(again(vae, diffusers.AutoModel, "vae"), diffusers.AutoModel, "vae_of_vae")
    again(again(model.vision_model, AutoModel, "tower"), AutoModel, "tower_of_tower")
    again(model.gaussian_decoder, AutoModel, "gaussians")
    again(model, AutoModel, "model")
    again(processor, AutoProcessor, "model")
    again(processor.image_processor, AutoImageProcessor, "images")
    again(processor.video_processor, AutoVideoProcessor, "videos")

    image = Image.fromarray(np.arange(32 * 48 * 3, dtype=np.uint8).reshape(32, 48, 3))
    expected = processor(images=[image])
    with multiprocessing.get_context("spawn").Pool(1) as workers:
        assert torch.equal(workers.apply(processor, [[image]]).pixel_values, expected.pixel_values)
    with torch.no_grad():
        hidden = model.vision_model(**expected).last_hidden_state
    for place in (folder, "model"):
        extract = pipeline("image-feature-extraction", model=place, device="cpu", **trust)
        for features in extract([image, image], batch_size=2, return_tensors=True):
            torch.testing.assert_close(features, hidden, atol=1e-5, rtol=0)
    try:
        from datasets.fingerprint import Hasher
    except ImportError:
        pass
    else:
        same = AutoProcessor.from_pretrained(folder, **trust)
        assert Hasher.hash(processor) == Hasher.hash(same)
        assert Hasher.hash(processor.image_processor) == Hasher.hash(same.image_processor)
        same.image_processor.max_pixels = 1024
        assert Hasher.hash(processor) != Hasher.hash(same)
    print("all loaded")
"""

GAUSSIANS = {
    "hidden_size": 24,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_gaussians": 4,
}


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    config = tiny_config(gaussian_config=GAUSSIANS)
    config.weights_license = "apache-2.0"
    randomize(AtokenModel(config)).save_pretrained(folder)
    AtokenProcessor().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def exported(source, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    scores = folder / "scores.json"
    scores.write_text(json.dumps(SCORES), encoding="utf-8")
    out = folder / "repository"
    options = ("--evaluation", scores, "--name", "someone/tiny", "--max-shard-size", "50KB")
    run("export", source, out, *options)
    return out


def test_a_process_without_our_package_loads_everything(source, exported, tmp_path):
    model, processor = AtokenModel.from_pretrained(source).eval(), AtokenProcessor.from_pretrained(source)
    vae = AutoencoderAtoken.from_pretrained(source).eval()
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (35, 40, 3), generator=generator, dtype=torch.uint8)
    video = torch.randint(0, 256, (6, 32, 48, 3), generator=generator, dtype=torch.uint8)
    dense = torch.rand(1, 3, 5, 32, 32, generator=generator) * 2 - 1
    with torch.no_grad():
        inputs = processor(images=[image.numpy()], videos=[video.numpy()])
        latents = model.encode(inputs.pixel_values, inputs.coords, inputs.cu_seqlens).latents
        decoded = model.decode(latents, inputs.coords, inputs.cu_seqlens).pixel_values
        dense_latents = vae.encode(dense).latent_dist.mode()
        dense_pixels = vae.decode(dense_latents).sample
        voxels, voxel_coords, voxel_starts = pack([voxel_tokens(30), voxel_tokens(20, seed=1)])
        latents = model.encode(voxels, voxel_coords, voxel_starts).latents
        gaussians = Gaussians.concatenate(model.decode_gaussians(latents, voxel_coords, voxel_starts))
    expected = {"image": image, "video": video, "decoded": decoded, "dense": dense, "gaussians": vars(gaussians)}
    expected |= {"voxels": voxels, "voxel_coords": voxel_coords, "voxel_starts": voxel_starts}
    torch.save({**expected, "dense_latents": dense_latents, "dense_pixels": dense_pixels}, tmp_path / "expected.pt")
    run_without_our_package(STRANGER, tmp_path, exported, "expected.pt")


def test_parts_that_are_saved_again_load_again(exported, tmp_path):
    run_without_our_package(PARTS, tmp_path, exported)


def run_without_our_package(program: str, tmp_path: Path, *arguments: Path | str) -> None:
    environment = {
        **os.environ,
        "HF_MODULES_CACHE": str(tmp_path / "modules"),
        "HF_HUB_OFFLINE": "1",
        # Without `site`, the link of an editable installation is not followed.
        "PYTHONPATH": sysconfig.get_paths()["purelib"],
    }
    (tmp_path / "stranger.py").write_text(program, encoding="utf-8")
    command = [sys.executable, "-S", "stranger.py", *map(str, arguments)]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "all loaded" in result.stdout


def test_every_sibling_import_goes_along(exported):
    for folder in (exported, exported / "vae"):
        files = {path.stem for path in folder.glob("*.py")}
        for path in folder.glob("*.py"):
            lines = path.read_text(encoding="utf-8").splitlines()
            siblings = {line.split()[1][1:] for line in lines if line.startswith("from .")}
            assert siblings <= files, f"{path} needs {siblings - files}"


@pytest.mark.parametrize("text", [False, True])
def test_pipelines_and_embedders_are_named(tmp_path, text):
    config = tiny_config(text=text)
    config.weights_license = "mit"
    randomize(AtokenModel(config)).save_pretrained(tmp_path / "model")
    run("export", tmp_path / "model", tmp_path / "out")
    written = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))
    tasks = ["image-feature-extraction", *(["zero-shot-image-classification"] if text else [])]
    assert list(written["custom_pipelines"]) == tasks
    for entry in written["custom_pipelines"].values():
        assert (tmp_path / "out" / f"{entry['impl'].split('.')[0]}.py").is_file()
        assert {written["auto_map"][name] for name in entry["pt"]} == {"modeling_atoken.AtokenModel"}
    assert (tmp_path / "out" / "modules.json").exists() == text
    # Whoever has the package has the pipelines, and need not trust the code of the folder.
    loaded = AtokenConfig.from_pretrained(tmp_path / "out")
    assert loaded.custom_pipelines == {} and "custom_pipelines" not in loaded.to_dict()
    extract = pipeline("image-feature-extraction", model=str(tmp_path / "out"), device="cpu")
    assert type(extract).__module__ == "atoken.processing.pipelines_atoken"


def test_exporting_leaves_the_classes_as_they_were(exported, source, tmp_path):
    AtokenModel.from_pretrained(source).save_pretrained(tmp_path)
    assert not list(tmp_path.glob("*.py"))
    assert "auto_map" not in json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))


def test_weights_are_split_and_unchanged(exported, source):
    assert len(list(exported.glob("model-*.safetensors"))) > 1
    first, second = (AtokenModel.from_pretrained(folder).state_dict() for folder in (source, exported))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_card_is_filled_in(exported):
    card = ModelCard.load(exported / "README.md")
    assert card.data.license == "apache-2.0"
    assert card.data.library_name == "transformers"
    results = {(result.dataset_name, result.metric_type): result.metric_value for result in card.data.eval_results}
    assert results == {("photos", "psnr"): 27.25, ("clips", "ssim"): 0.9}
    config = AtokenConfig.from_pretrained(exported)
    assert f"| encoder | {config.vision_config.hidden_size} |" in card.text
    assert "| Gaussian decoder | 24 | 2 | 2 | 48 |" in card.text and "model.decode_gaussians(encoded." in card.text
    assert 'from_pretrained("someone/tiny"' in card.text
    assert "Protocol: whole photos, 8 bit." in card.text
    assert "{" not in card.text.replace("{name}", "{")


def test_converted_weights_keep_their_license(source, tmp_path):
    model = AtokenModel.from_pretrained(source)
    model.config.weights_license = OFFICIAL_LICENSE
    model.save_pretrained(tmp_path / "converted")
    refused = run("export", tmp_path / "converted", tmp_path / "out", "--license", "mit", code=2)
    assert "--license" in refused.stderr
    assert not (tmp_path / "out").exists()
    run("export", tmp_path / "converted", tmp_path / "out")
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert (card.data.license, card.data.license_name) == ("other", OFFICIAL_LICENSE)
    assert "no commercial use" in card.text
    assert "no commercial use" in (tmp_path / "out" / "LICENSE_NOTICE.md").read_text(encoding="utf-8")


def test_unknown_license_must_be_said(tmp_path):
    randomize(AtokenModel(tiny_config())).save_pretrained(tmp_path / "model")
    refused = run("export", tmp_path / "model", tmp_path / "out", code=2)
    assert "--license" in refused.stderr and not (tmp_path / "out").exists()
    run("export", tmp_path / "model", tmp_path / "out", "--license", "mit")
    assert "Gaussian" not in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert AtokenConfig.from_pretrained(tmp_path / "out").weights_license == "mit"


@pytest.mark.parametrize("content", ["nonsense", "[]", '{"held_out": {"a": {"psnr": "x"}}, "protocol": ""}'])
def test_bad_evaluation(source, tmp_path, content):
    (tmp_path / "scores.json").write_text(content, encoding="utf-8")
    result = run("export", source, tmp_path / "out", "--evaluation", tmp_path / "scores.json", code=1)
    assert "--evaluation" in result.stderr and not (tmp_path / "out").exists()


def test_existing_folders_are_not_lost(source, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "diary.txt").write_text("mine", encoding="utf-8")
    for options in ((), ("--overwrite",)):
        assert "OUT" in run("export", source, tmp_path / "out", *options, code=1).stderr
    assert (tmp_path / "out" / "diary.txt").is_file()
    run("export", source, source, "--overwrite", code=2)
    assert (source / "model.safetensors").is_file()


def test_push_uploads_the_finished_folder(source, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(HfApi, "create_repo", lambda self, name, **options: calls.append((name, options)))

    def upload_folder(self, repo_id, repo_type, folder_path, commit_message):
        calls.append((repo_id, sorted(path.name for path in Path(folder_path).iterdir() if path.suffix != ".py")))
        return "https://hub/commit"

    monkeypatch.setattr(HfApi, "upload_folder", upload_folder)
    facts = run_json("export", source, tmp_path / "out", "--push", "someone/tiny", "--private")
    assert facts["pushed"] == "https://hub/commit"
    assert calls[0] == ("someone/tiny", {"exist_ok": True, "private": True, "repo_type": "model", "space_sdk": None})
    files = ["README.md", "config.json", "model.safetensors", "processor_config.json", "vae"]
    assert calls[1] == ("someone/tiny", files)


def test_failed_push_keeps_the_folder(source, tmp_path, monkeypatch):
    def refuse(self, name, **options):
        raise ConnectionError("no network here")

    monkeypatch.setattr(HfApi, "create_repo", refuse)
    result = run("export", source, tmp_path / "out", "--push", "someone/tiny", code=1)
    assert "--push" in result.stderr and "no network here" in result.stderr
    assert (tmp_path / "out" / "config.json").is_file()
