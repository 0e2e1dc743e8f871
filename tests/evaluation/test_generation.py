"""Generated images against references: the numbers by the measures' own functions, and files, processes and stops."""

import json

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import nn

from atoken.evaluation import reconstruction
from atoken.evaluation.generation import same_size
from atoken.evaluation.metrics import adm
from atoken.evaluation.metrics.adm import adm_features, adm_metrics, read_reference
from atoken.evaluation.models.generators import PipelineSamples, StoredSamples
from atoken.evaluation.runner import evaluate
from atoken.evaluation.sets.array_sets import adm_reference

from ..cli_samples import run, run_json
from ..generation.helpers import lightning_pipeline, token_pipeline
from ..processing.samples import png16

WIDTH, SPATIAL = 6, 5


class SmallNetwork(nn.Module):
    """Stands for Inception, whose weights are not here: as many kinds of features, by fixed random numbers."""

    def __init__(self, weights: str | None = None):
        super().__init__()
        assert weights == "given.pth"
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("matrix", torch.randn(3 * 16, WIDTH + SPATIAL + 4, generator=generator))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        small = nn.functional.adaptive_avg_pool2d(images / 255, 4).flatten(1)
        return (small @ self.matrix).split((WIDTH, SPATIAL, 4), dim=1)


@pytest.fixture(autouse=True)
def small_network(monkeypatch):
    monkeypatch.setattr(reconstruction, "AdmNetwork", SmallNetwork)
    monkeypatch.setattr(adm, "WIDTH", WIDTH)
    monkeypatch.setattr(adm, "SPATIAL_WIDTH", SPATIAL)


def pictures(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 20, 20, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("generation")
    np.savez(root / "samples.npz", pictures(11, 0))
    generator = np.random.default_rng(5)
    covariances = [np.cov(generator.normal(size=(50, width)), rowvar=False) for width in (WIDTH, SPATIAL)]
    moments = {"mu": np.ones(WIDTH), "sigma": covariances[0], "mu_s": np.zeros(SPATIAL), "sigma_s": covariances[1]}
    np.savez(root / "reference.npz", pictures(9, 1), **moments)
    (root / "pictures").mkdir()
    for index, picture in enumerate(pictures(8, 2)):
        Image.fromarray(picture).save(root / "pictures" / f"{index}.png")
    lightning_pipeline().save_pretrained(root / "latents")
    token_pipeline().save_pretrained(root / "codes")
    return root


def config(folder, name: str = "config", **changes):
    values = {
        "title": "Generators",
        "chunk_size": 3,
        "weights": {"rfid": "given.pth"},
        "sets": {
            "reference": {"set": "adm-reference", "path": str(folder / "reference.npz"), "task": "generation"},
            "photos": {"set": "image-folder", "folder": str(folder / "pictures"), "size": 20, "task": "generation"},
        },
        "generators": {
            "stored": {"adapter": "samples", "path": str(folder / "samples.npz")},
            "folder": {"adapter": "samples", "path": str(folder / "pictures"), "sets": ["reference"]},
        },
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({**values, **changes}, sort_keys=False), encoding="utf-8")
    return path


def numbers(results) -> dict[tuple[str, str], dict]:
    return {(one.model, one.set): one.numbers for one in results.results}


def batch(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def test_numbers_are_those_of_the_measures(folder, tmp_path):
    found = numbers(evaluate(config(folder), tmp_path))
    assert list(found) == [("stored", "reference"), ("stored", "photos"), ("folder", "reference")]
    network = SmallNetwork("given.pth")
    stored, photos = (adm_features(network, [batch(pictures(*each))]) for each in ((11, 0), (8, 2)))
    reference = read_reference(folder / "reference.npz", network)
    assert float(reference.pooled.mean.mean()) == 1  # of the file's mu, not of its images
    pairs = {("stored", "reference"): (stored, reference), ("stored", "photos"): (stored, photos)}
    for names, (one, other) in {**pairs, ("folder", "reference"): (photos, reference)}.items():
        expected = adm_metrics(one, other)
        for name, own in {"gfid": "fid", "sfid": "sfid", "adm_inception_score": "inception_score"}.items():
            assert found[names][name] == pytest.approx(expected[own], rel=1e-4)
        assert found[names]["adm_precision"] == pytest.approx(expected["precision"])
        assert found[names]["adm_recall"] == pytest.approx(expected["recall"])
    assert found["stored", "reference"]["count"] == 11 and found["stored", "reference"]["reference_count"] == 9
    page = (tmp_path / "index.html").read_text()
    assert "gFID" in page and "mean and covariance: of the file" in page


def test_each_is_computed_once(folder, tmp_path):
    told = []
    evaluate(config(folder), tmp_path, progress=lambda *values: told.append(values))
    assert [name for name, done, _ in told if done == 0] == [
        "images of reference",
        "images of stored",
        "images of photos",
        "images of folder",
    ]
    before = (tmp_path / "results.json").read_bytes()
    (tmp_path / "chunks/stored/.images/000001.safetensors").unlink()
    told.clear()
    evaluate(config(folder), tmp_path, progress=lambda *values: told.append(values))
    assert told == [("images of stored", 0, 1), ("images of stored", 1, 1)]
    assert (tmp_path / "results.json").read_bytes() == before


@pytest.mark.parametrize("kind", ["latents", "codes"])
def test_a_pipeline_is_measured_as_its_images(folder, tmp_path, kind):
    """What `atoken generate` writes of the same seed has the same numbers."""
    sampling = {"num_inference_steps": 2}
    generators = {"now": {"adapter": "pipeline", "model": str(folder / kind), "count": 5, "settings": sampling}}
    options = ["--model", folder / kind, "-n", 5, "--steps", 2, "--npz"]
    made = run_json("generate", "-o", tmp_path / "made", *options)
    generators["file"] = {"adapter": "samples", "path": made["npz"]}
    generators["folder"] = {"adapter": "samples", "path": str(tmp_path / "made/images")}
    found = numbers(evaluate(config(folder, kind, generators=generators), tmp_path / "out"))
    own = found["now", "reference"]
    for name in ("file", "folder"):
        assert found[name, "reference"] == pytest.approx(own, rel=1e-3)
    facts = json.loads((tmp_path / "out/results.json").read_text())["results"][0]["protocol"]["model"]
    assert facts["seed"] == 0 and facts["settings"]["num_inference_steps"] == 2 and len(facts["fingerprint"]) == 32


def test_chunks_do_not_change_images(folder):
    samples = PipelineSamples(str(folder / "codes"), count=5, settings={"num_inference_steps": 2}, batch_size=2)
    whole = samples.images(range(5))
    assert torch.equal(torch.cat([samples.images(range(3)), samples.images(range(3, 5))]), whole)


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"generators": {"a": {"adapter": "samples", "path": "/nowhere.npz"}}}, FileNotFoundError, "nowhere.npz"),
        ({"generators": {"a": {"adapter": "samples", "path": "/nowhere"}}}, FileNotFoundError, "nowhere"),
        (
            {"generators": {"a": {"adapter": "samples", "path": "ROOT/samples.npz", "limit": 3}}},
            ValueError,
            "a must have at",
        ),
        ({"generators": {"a": {"adapter": "pipeline", "model": "/nowhere"}}}, FileNotFoundError, "/nowhere"),
        ({"generators": {"a": {"adapter": "pipeline", "model": "ROOT/codes", "count": 0}}}, ValueError, "count must"),
        (
            {"generators": {"a": {"adapter": "pipeline", "model": "ROOT/codes", "settings": {"shift": 1}}}},
            ValueError,
            "settings of TokenBridgePipeline must be among",
        ),
        (
            {"generators": {"a": {"adapter": "pipeline", "model": "ROOT/latents", "settings": {"guidance_scale": -1}}}},
            ValueError,
            "guidance_scale must be at least 0",
        ),
        (
            {"generators": {"a": {"adapter": "pipeline", "model": "ROOT/codes", "classes": ["red stat"]}}},
            ValueError,
            "near are red star",
        ),
        ({"generators": {"a": {"adapter": "pipeline", "model": "ROOT/codes", "seed": -1}}}, ValueError, "seed must be"),
        (
            {
                "sets": {"a": {"set": "image-folder", "folder": "ROOT/pictures"}},
                "generators": {"b": {"adapter": "samples", "path": "ROOT/samples.npz"}},
            },
            ValueError,
            "b fits none of the sets",
        ),
    ],
)
def test_what_is_wrong_is_said_before_any_work(folder, tmp_path, changes, error, says):
    path = config(folder, "wrong", **changes)
    path.write_text(path.read_text().replace("ROOT", str(folder)))
    with pytest.raises(error, match=says):
        evaluate(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_references_that_cannot_be(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="guided-diffusion"):
        adm_reference(str(tmp_path / "none.npz"))
    np.savez(tmp_path / "other.npz", pictures(5, 0), mu=np.ones(3), sigma=np.eye(3), mu_s=np.ones(5), sigma_s=np.eye(5))
    with pytest.raises(ValueError, match=r"mu of a reference must be \(6,\), got \(3,\)"):
        adm_reference(str(tmp_path / "other.npz"))


def test_images_of_two_sizes():
    with pytest.raises(ValueError, match="images must be of one size, got 6 x 4 and 6 x 5 in a and b"):
        same_size({"a": torch.zeros(3, 4, 6), "b": torch.zeros(3, 5, 6)})


def test_stored_images_come_in_the_order_of_names(folder):
    stored = StoredSamples(str(folder / "pictures"))
    assert stored.count == 8 and np.array_equal(stored.images(range(2, 5)).permute(0, 2, 3, 1), pictures(8, 2)[2:5])


def test_stored_images_of_16_bits_come_in_8(tmp_path):
    pixels = pictures(1, 0)[0]
    (tmp_path / "0.png").write_bytes(png16(pixels.astype(np.uint16) * 257))
    found = StoredSamples(str(tmp_path)).images(range(1))
    assert found.dtype == torch.uint8 and np.array_equal(found[0].permute(1, 2, 0), pixels)


def test_weights_that_are_not_there(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(reconstruction, "AdmNetwork", adm.AdmNetwork)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    result = run("evaluate", config(folder, "weights", weights={}), "-o", tmp_path / "out", code=1)
    assert "there are no weights of its network at" in result.stderr and not (tmp_path / "out").exists()
