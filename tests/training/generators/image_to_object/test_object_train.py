"""Whole trainings of the three parts of image to 3D on a corpus of five objects."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from atoken.generation import SparseStructureFlowModel, StructuredLatentFlowModel
from atoken.generation.autoencoder_sparse_structure_atoken import DenseResBlock
from atoken.tokenizing.corpus.reading import AtokenTokens
from atoken.tokenizing.loading import load_model
from atoken.training.generators.image_to_object.building import ObjectFiles, build_object_model
from atoken.training.generators.image_to_object.rows import ObjectRows
from atoken.training.generators.image_to_object.stage import ObjectStage
from atoken.training.generators.image_to_object.train import main

from ....cli_samples import save_model
from .conftest import MODELS, OBJECTS

KINDS = tuple(MODELS)


def train(files, kind: str, output: Path, **options) -> Path:
    given = {"log_every": 1, **files.options(kind), **options}
    main(given.pop("stage", files.stage(kind)), files.root / "latents", str(files.tokenizer), output, **given)
    return output


def log(output: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    return [{name: line[name] for name in line if name not in ("tokens per second", "minutes")} for line in lines]


def weights(output: Path) -> dict[str, torch.Tensor]:
    return load_file(output / "model/diffusion_pytorch_model.safetensors")


@pytest.fixture(scope="module")
def whole(files, tmp_path_factory) -> dict[str, Path]:
    """Trainings of all kinds with a checkpoint in the middle."""
    root = tmp_path_factory.mktemp("whole")
    return {kind: train(files, kind, root / kind, save_every=3, keep=9) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_falls(kind, files, tmp_path):
    losses = [line["generation/loss"] for line in log(train(files, kind, tmp_path / "run", steps=40, save_every=40))]
    assert len(losses) == 40
    assert sum(losses[-8:]) < 0.95 * sum(losses[:8])


@pytest.mark.parametrize("kind", KINDS)
def test_resumed_equals_uninterrupted(kind, files, whole, tmp_path):
    torch.manual_seed(99)  # nothing may hang on the numbers that a process happens to begin with
    output = train(files, kind, tmp_path / "run", resume=str(whole[kind] / "checkpoint-00000003"))
    assert log(output) == log(whole[kind])[3:]
    expected, found = weights(whole[kind]), weights(output)
    assert expected.keys() == found.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_what_is_exported_knows_corpus_and_tokenizer(files, whole):
    config = StructuredLatentFlowModel.from_pretrained(whole["structured-latent-flow"] / "model").config
    each = [files.rows.latents(row)[0].double() for row in range(OBJECTS)]
    mean = torch.stack([one.mean(0) for one in each]).mean(0)
    deviation = (torch.stack([one.square().mean(0) for one in each]).mean(0) - mean.square()).sqrt()
    torch.testing.assert_close(torch.tensor(config.latents_mean).double(), mean, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(torch.tensor(config.latents_std).double(), deviation, rtol=1e-5, atol=1e-7)
    assert config.sample_size == 16 and config.in_channels == files.rows.channels
    structure = SparseStructureFlowModel.from_pretrained(whole["structure-flow"] / "model").config
    assert (structure.sample_size, structure.in_channels) == (8, 2)
    assert structure.cross_attention_dim == files.loaded.model.config.vision_config.hidden_size


def test_the_noise_of_structures_begins_as_the_stage_says(files):
    stage = replace(ObjectStage.read(files.stage("structure-vae")), start_logvar=-6.0)
    given = ObjectFiles.open(stage, files.rows, files.loaded.model, None, None)
    with torch.no_grad():
        posterior = build_object_model(stage, given).encode(files.rows.occupancy(0)[None]).latent_dist
    assert float(posterior.logvar.mean()) == pytest.approx(-6, abs=1)
    assert float(posterior.mean.mean()) == pytest.approx(0, abs=1)


def test_the_structure_vae_begins_as_the_stage_says(files):
    stage = replace(ObjectStage.read(files.stage("structure-vae")), start_logit=-4.0, start_variance=True)
    model = build_object_model(stage, ObjectFiles.open(stage, files.rows, files.loaded.model, None, None))
    first = model.decoder.conv_in
    assert not first.bias.any() and model.decoder.conv_out.bias.tolist() == [-4.0]
    # An input of unit variance comes out with unit variance, but for what a sample of weights differs by.
    expected = 1 / first.weight[0].numel()
    assert float(first.weight.detach().square().mean()) == pytest.approx(expected, rel=0.5)
    blocks = [module for module in model.modules() if isinstance(module, DenseResBlock)]
    assert blocks and not any(block.conv2.weight.any() for block in blocks)


def test_statistics_are_read_once(files, monkeypatch):
    first = files.rows.statistics()
    monkeypatch.setattr(files.rows, "latents", None)
    assert files.rows.statistics() == first


def test_lora_trains_what_it_adds_and_loads_again(files, whole, tmp_path):
    kind = "structured-latent-flow"
    stage = tmp_path / "lora.yaml"
    stage.write_text(yaml.safe_dump({**yaml.safe_load(files.stage(kind).read_text()), "lora": {"r": 2}}))
    start = whole[kind] / "model"
    output = train(files, kind, tmp_path / "run", stage=stage, init_from=start, save_every=3, keep=9)
    model = StructuredLatentFlowModel.from_pretrained(start)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_lora_adapter(str(output / "model"), prefix=None, weight_name="pytorch_lora_weights.safetensors")
    after = {name.replace(".base_layer", ""): value for name, value in model.state_dict().items()}
    assert all(torch.equal(after[name], value) for name, value in before.items())
    added = [value for name, value in after.items() if "lora_B" in name]
    assert len(added) == 5 and all(value.abs().max() > 0 for value in added)
    again = train(
        files, kind, tmp_path / "again", stage=stage, init_from=start, resume=str(output / "checkpoint-00000003")
    )
    name = "model/pytorch_lora_weights.safetensors"
    one, other = load_file(output / name), load_file(again / name)
    assert one.keys() == other.keys() and all(torch.equal(other[each], value) for each, value in one.items())


def test_a_tokenizer_that_did_not_write_the_corpus(files, tmp_path):
    save_model(tmp_path, seed=1)
    with pytest.raises(ValueError, match="corpus must be written by the tokenizer .* with another fingerprint"):
        ObjectRows(AtokenTokens(files.root / "latents", normalize=False), load_model(str(tmp_path), "cpu"))


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        ("structure-vae", ("conditions",), "conditions must be left out for structure-vae"),
        ("structured-latent-flow", (), "conditions must be given for structured-latent-flow, got None"),
        ("structure-flow", ("conditions",), "structures must be given for structure-flow, got None"),
        ("structured-latent-flow", ("conditions", "structures"), "structures must be left out"),
    ],
)
def test_features_that_are_missing_or_needless(kind, given, message, files):
    folders = {name: files.root / name if name in given else None for name in ("conditions", "structures")}
    with pytest.raises(ValueError, match=message):
        ObjectFiles.open(ObjectStage.read(files.stage(kind)), files.rows, files.loaded.model, **folders)


def test_features_of_another_kind(files):
    stage = ObjectStage.read(files.stage("structured-latent-flow"))
    with pytest.raises(ValueError, match="features must be those of features 'conditions', got 'structures'"):
        ObjectFiles.open(stage, files.rows, files.loaded.model, files.root / "structures", None)


@pytest.mark.parametrize(
    ("kind", "changes", "options", "message"),
    [
        ("structured-latent-flow", {"lora": {"r": 2}}, (), "init_from must be given where lora is"),
        ("structure-vae", {"crop": 7}, (), "crop must be a multiple of 2 of at most 16, got 7"),
        ("structure-flow", {}, ("init_from",), "init_from must be the folder of a SparseStructureFlowModel"),
    ],
)
def test_trainings_that_cannot_be(kind, changes, options, message, files, tmp_path):
    stage = tmp_path / "stage.yaml"
    stage.write_text(yaml.safe_dump({**yaml.safe_load(files.stage(kind).read_text()), **changes}))
    with pytest.raises(ValueError, match=message):
        train(files, kind, tmp_path / "run", stage=stage, **{name: tmp_path for name in options})
