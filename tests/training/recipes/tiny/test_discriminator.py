"""The ablation's discriminator: its hinge loss, its share of the gradient, and that the optimizer leaves it alone."""

import json
import math

import numpy as np
import pytest
import torch
import yaml

from atoken import AtokenModel
from atoken.training.data.batches import collate
from atoken.training.data.samples import Limits, make_sample
from atoken.training.recipes.tiny import discriminator
from atoken.training.recipes.tiny.discriminator import PULL, AdversarialObjective, PatchDiscriminator
from atoken.training.recipes.tiny.text_tower import LENGTH
from atoken.training.tokenizer.networks import CLIP, ImageLosses

from ...stage_samples import STAGE, make_start, write_photos
from ...whole_batches import losses_of

LIMITS = Limits(image_resolution=(48, 96), video_resolution=(32, 32), frames=(8,), understanding_tokens=9)


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return make_start(tmp_path_factory.mktemp("start"))


@pytest.fixture
def objective(start):
    model = AtokenModel.from_pretrained(start).float()
    return AdversarialObjective(model=model, weights={"image": {"l1": 3.0}}, seed=5).train()


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    photos = sorted(write_photos(tmp_path_factory.mktemp("photos")).iterdir())[:3]
    samples = [
        make_sample("image_reconstruction", {"media": photo}, LIMITS, np.random.default_rng(index))
        for index, photo in enumerate(photos)
    ]
    return collate("image_reconstruction", samples, range(3), lambda texts: torch.zeros(len(texts), LENGTH))


def test_patches_are_judged_by_what_they_see():
    torch.manual_seed(0)
    network = PatchDiscriminator()
    network.layers = torch.nn.Sequential(*(one for one in network.layers if not isinstance(one, torch.nn.GroupNorm)))
    picture = torch.rand(1, 3, 64, 64, requires_grad=True)
    logits = network([picture, picture[..., :48, :32]])
    assert logits.shape == (8 * 8 + 6 * 4,)
    (gradient,) = torch.autograd.grad(logits[8 * 4 + 4], picture)
    rows = gradient.abs().sum((0, 1, 3)).nonzero()
    assert int(rows.max() - rows.min()) + 1 == 38


def test_it_takes_a_step_of_the_hinge_loss(objective):
    torch.manual_seed(0)
    real, fake = ([torch.rand(1, 3, 64, 64) * 2 - 1 for _ in range(3)] for _ in range(2))
    network = objective.discriminator
    before = [parameter.detach().clone() for parameter in network.parameters()]
    with torch.no_grad():
        logits = [network(side).double().numpy() for side in (real, fake)]
    means = objective._train_discriminator(real, fake)
    assert float(means["logits_real"]) == pytest.approx(logits[0].mean(), abs=1e-6)
    assert float(means["logits_fake"]) == pytest.approx(logits[1].mean(), abs=1e-6)
    # The hinge's gradient with regard to the last bias, by hand.
    expected = -(logits[0] < 1).mean() + (logits[1] > -1).mean()
    assert float(network.layers[-1].bias.grad) == pytest.approx(expected, abs=1e-5)
    # Adam's first step is the rate along the sign.
    moved = [after - old for after, old in zip(network.parameters(), before, strict=True)]
    assert max(float(one.abs().max()) for one in moved) == pytest.approx(discriminator.RATE, rel=1e-2)
    for _ in range(60):
        means = objective._train_discriminator([torch.full_like(one, 0.5) for one in real], fake)
    assert float(means["logits_real"]) > 0.5 > -0.5 > float(means["logits_fake"])


def test_its_pull_is_a_multiple_of_that_of_l1(objective, batch):
    decoded = []
    decode = objective.model.decode

    def keep(*arguments, **options):
        output = decode(*arguments, **options)
        decoded.append(output.pixel_values)
        return output

    objective.model.decode = keep
    parts = losses_of(objective, batch)
    assert set(parts) == {"loss", "l1", "kl", "adversarial", "logits_real", "logits_fake"}
    expected = 0.2 * (3 * parts["l1"] + parts["adversarial"]) + 1e-8 * parts["kl"]
    assert float(parts["loss"]) == pytest.approx(float(expected), rel=1e-5)
    (both,) = torch.autograd.grad(parts["loss"], decoded[0], retain_graph=True)
    l1 = 0.2 * 3 * (decoded[0] - batch.pixel_values).sign()
    values = 768  # of a patch's first frame; the others are padding
    l1[:, values:] = 0
    l1 /= len(l1) * values
    assert float((both - l1).norm() / l1.norm()) == pytest.approx(PULL, rel=1e-3)
    parts["loss"].backward()
    network = objective.discriminator
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert objective.model.decoder.out_layer.weight.grad.abs().sum() > 0


def test_it_is_none_of_the_objectives_parameters(objective, batch):
    names = {name for name, _ in objective.named_parameters()} | set(objective.state_dict())
    assert names and all(name.startswith("model.") for name in names)
    objective.to(torch.float64)
    assert next(objective.discriminator.parameters()).dtype == torch.float64
    again = AdversarialObjective(model=objective.model.float(), weights={"image": {"l1": 3.0}}, seed=5)
    found = [float(one.discriminator.layers[0].weight.sum()) for one in (objective, again)]
    assert found[0] == pytest.approx(found[1], abs=1e-5)


def test_a_run_logs_logits_and_exports_the_model(start, tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    photos = write_photos(tmp_path / "photos")
    stage = STAGE | {"steps": 2, "ratios": {"image_reconstruction": 1}}
    (tmp_path / "stage.yaml").write_text(yaml.safe_dump(stage))
    sources = {
        "image_understanding": [{"source": "miniature", "length": 100}],
        "image_reconstruction": [{"source": "folder", "path": str(photos)}],
    }
    (tmp_path / "data.yaml").write_text(yaml.safe_dump(sources))
    discriminator.main(tmp_path / "stage.yaml", tmp_path / "data.yaml", str(start), tmp_path / "out", losses="l1")
    lines = [json.loads(line) for line in (tmp_path / "out/log.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 2
    for name in ("logits_real", "logits_fake", "adversarial", "l1"):
        assert math.isfinite(lines[-1][f"image_reconstruction/{name}"])
    assert not any("adversar" in name for name in AtokenModel.from_pretrained(tmp_path / "out/model").state_dict())
    assert ImageLosses.choose("l1", {"l1": 1.0}).load(None, CLIP) == (None, None)
