"""What is compared before an evaluation goes on: the weights of all parts that are used, networks, and files."""

import os
import shutil
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from atoken.evaluation import reconstruction
from atoken.evaluation.fingerprints import listing_fingerprint
from atoken.evaluation.models.atoken_features import AtokenFeatures
from atoken.evaluation.models.atoken_tokenizers import AtokenEmbedder, AtokenMedia, AtokenObjects
from atoken.evaluation.models.diffusers_tokenizers import VQTokenizer
from atoken.evaluation.models.generators import PipelineSamples, StoredSamples
from atoken.evaluation.models.stored_reconstructions import FolderReconstructions
from atoken.evaluation.reconstruction import Measures
from atoken.evaluation.runner import evaluate

from ..cli_samples import save_model
from ..generation.helpers import lightning_pipeline, token_pipeline
from ..generation.object_helpers import GAUSSIANS
from ..processing.samples import photo, tiny_tokenizer

# Class -> the parts of a model on which its results depend.
USED = {
    AtokenMedia: {"vision_model", "latent_proj", "decoder"},
    AtokenObjects: {"vision_model", "latent_proj", "decoder", "gaussian_decoder"},
    AtokenEmbedder: {"vision_model", "vision_model.head", "text_model"},
    AtokenFeatures: {"vision_model", "latent_proj"},
}
PARTS = ("vision_model", "vision_model.head", "latent_proj", "decoder", "gaussian_decoder", "text_model")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model")
    save_model(path, text=True, tokenizer=tiny_tokenizer(), gaussian_config=GAUSSIANS)
    return path


def change(module: torch.nn.Module) -> None:
    """Changes one weight."""
    with torch.no_grad():
        next(module.parameters()).flatten()[0] += 1


@pytest.mark.parametrize("adapter", USED, ids=lambda adapter: adapter.__name__)
def test_every_part_that_is_used_is_seen(folder, adapter):
    model = adapter(str(folder))
    before = model.fingerprints()
    assert adapter(str(folder)).fingerprints() == before and {len(each) for each in before.values()} == {32}
    for part in PARTS:
        change(model.loaded.model.get_submodule(part))
        # The head is one of the encoder's modules.
        assert (model.fingerprints() != before) == (part in USED[adapter] or part == "vision_model.head"), part
        before = model.fingerprints()


def test_settings_are_seen(folder):
    model = AtokenMedia(str(folder))
    before = model.fingerprints()
    model.loaded.processor.image_processor.image_mean = [0.4, 0.5, 0.5]
    changed = {name for name, value in model.fingerprints().items() if value != before[name]}
    assert changed == {"settings"}


def test_weights_of_others_are_seen(tmp_path):
    diffusers.VQModel(block_out_channels=(8,), norm_num_groups=4).save_pretrained(tmp_path)
    model = VQTokenizer(str(tmp_path))
    before = model.fingerprints()
    assert VQTokenizer(str(tmp_path)).fingerprints() == before
    change(model.model)
    assert model.fingerprints() != before


def config(folder: Path, **sections) -> Path:
    for index in range(3):
        path = folder / "data/pictures" / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo(32, 32, index)).save(path)
    task = "projection" if "embedders" in sections else "reconstruction"
    pictures = {"set": "labelled-folder", "folder": str(folder / "data"), "size": 32, "task": task}
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({"title": "Test", "sets": {"pictures": pictures}, **sections}))
    return path


@pytest.mark.parametrize(
    ("role", "adapter"), [("tokenizers", "atoken"), ("embedders", "atoken-features")], ids=["tokenizer", "embedder"]
)
def test_an_evaluation_goes_on_with_the_same_weights_alone(tmp_path, role, adapter):
    model = save_model(tmp_path / "model")
    path = config(tmp_path, **{role: {"ours": {"adapter": adapter, "model": str(tmp_path / "model")}}})
    evaluate(path, tmp_path / "out")
    before = (tmp_path / "out/results.json").read_bytes()
    evaluate(path, tmp_path / "out")
    assert (tmp_path / "out/results.json").read_bytes() == before
    change(model.vision_model)  # of which the decoder's fingerprint knows nothing
    model.save_pretrained(tmp_path / "model")
    with pytest.raises(ValueError, match="whose plan.json differs in fingerprints; choose another output, or over"):
        evaluate(path, tmp_path / "out")
    evaluate(path, tmp_path / "out", overwrite=True)
    assert (tmp_path / "out/results.json").read_bytes() != before


class Distance(torch.nn.Module):
    """Stands for LPIPS: a factor out of a file."""

    def __init__(self, weights: str):
        super().__init__()
        self.register_buffer("factor", torch.tensor(float(Path(weights).read_text())))

    def forward(self, reconstruction, original):
        return self.factor * (reconstruction.float() - original.float()).abs().mean((1, 2, 3))


def test_an_evaluation_goes_on_with_the_same_networks_of_measures_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(reconstruction, "Lpips", Distance)
    (tmp_path / "lpips.pth").write_text("1")
    codec = {"adapter": "image-codec", "codec": "jpeg", "bits_per_pixel": 4.0}
    weights = {"lpips": str(tmp_path / "lpips.pth")}
    path = config(tmp_path, tokenizers={"jpeg": codec}, measures=["psnr", "lpips"], weights=weights)
    (result,) = evaluate(path, tmp_path / "out").results
    assert set(result.protocol["fingerprints"]["measures"]) == {"lpips"}
    (tmp_path / "lpips.pth").write_text("2")
    with pytest.raises(ValueError, match="whose plan.json differs in fingerprints"):
        evaluate(path, tmp_path / "out")
    (again,) = evaluate(path, tmp_path / "out", overwrite=True).results
    assert again.numbers["lpips"] == pytest.approx(2 * result.numbers["lpips"])


def test_networks_of_generators_are_their_own(monkeypatch):
    for name in ("InceptionFeatures", "AdmNetwork"):
        monkeypatch.setattr(reconstruction, name, lambda weights: torch.nn.Linear(2, 2))
    measures = Measures(("psnr", "rfid"), {}, generation=True)
    own, of_generators = measures.fingerprints(), measures.fingerprints(generation=True)
    assert set(own) == set(of_generators) == {"inception"} and own != of_generators
    assert Measures(("psnr",), {}).fingerprints() == {}


def later(path: Path) -> None:
    """Lets a file have been written a second later."""
    found = path.stat()
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns + 10**9))


def test_files_are_told_apart_by_names_sizes_and_times(tmp_path):
    files = [tmp_path / "a" / "0.png", tmp_path / "b.npy"]
    files[0].parent.mkdir()
    for path in files:
        path.write_bytes(b"one")
    found = [listing_fingerprint(tmp_path, files)]
    assert listing_fingerprint(tmp_path, files[::-1]) == found[0]
    later(files[1])
    found.append(listing_fingerprint(tmp_path, files))
    files[1].rename(tmp_path / "c.npy")
    files[1] = tmp_path / "c.npy"
    found.append(listing_fingerprint(tmp_path, files))
    time = files[0].stat()
    files[0].write_bytes(b"four")
    os.utime(files[0], ns=(time.st_atime_ns, time.st_mtime_ns))
    found.append(listing_fingerprint(tmp_path, files))
    assert len(set(found)) == 4


def test_reconstructions_that_were_made_anew_are_seen(tmp_path):
    for name in ("a.npy", "clip/0.png", "clip/1.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    made = FolderReconstructions(str(tmp_path))
    found = [made.fingerprints()]
    for name in ("a.npy", "clip/1.png"):
        later(tmp_path / name)
        found.append(made.fingerprints())
    assert found[0] != found[1] != found[2]
    later(tmp_path / "notes.txt")
    assert made.fingerprints() == found[2]


def test_an_evaluation_goes_on_with_the_same_reconstructions_alone(tmp_path):
    (tmp_path / "made/pictures").mkdir(parents=True)
    for index in range(3):
        np.save(tmp_path / f"made/pictures/{index}.npy", photo(32, 32, index))
    path = config(tmp_path, tokenizers={"theirs": {"adapter": "folder", "path": str(tmp_path / "made")}})
    evaluate(path, tmp_path / "out")
    evaluate(path, tmp_path / "out")
    np.save(tmp_path / "made/pictures/1.npy", photo(32, 32, 7))  # of the same size in bytes
    later(tmp_path / "made/pictures/1.npy")
    with pytest.raises(ValueError, match="whose plan.json differs in fingerprints"):
        evaluate(path, tmp_path / "out")


def test_generated_images_that_were_made_anew_are_seen(tmp_path):
    np.savez(tmp_path / "samples.npz", np.zeros((5, 4, 4, 3), np.uint8))
    (tmp_path / "folder").mkdir()
    Image.fromarray(photo(8, 8, 0)).save(tmp_path / "folder/0.png")
    for name, file in {"samples.npz": "samples.npz", "folder": "folder/0.png"}.items():
        before = StoredSamples(str(tmp_path / name)).fingerprints()
        assert StoredSamples(str(tmp_path / name)).fingerprints() == before
        later(tmp_path / file)
        assert StoredSamples(str(tmp_path / name)).fingerprints() != before


def test_the_scheduler_of_a_generator_is_seen(tmp_path):
    pipeline = lightning_pipeline()
    pipeline.save_pretrained(tmp_path / "latents")
    shutil.copytree(tmp_path / "latents", tmp_path / "other")
    other = diffusers.FlowMatchEulerDiscreteScheduler(use_karras_sigmas=True)
    other.save_pretrained(tmp_path / "other/scheduler")
    token_pipeline().save_pretrained(tmp_path / "codes")
    found = [PipelineSamples(str(tmp_path / name), count=4) for name in ("latents", "other", "codes")]
    assert found[0].loaded.fingerprint == found[1].loaded.fingerprint  # which is of weights
    assert found[0].fingerprints() != found[1].fingerprints() and found[2].fingerprints() == {}
