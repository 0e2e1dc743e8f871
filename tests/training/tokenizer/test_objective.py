"""The loss of each task against its formula, and where gradients go."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from atoken import AtokenModel, AtokenVisionModel, render
from atoken.evaluation.metrics.st_lpips import StLpipsNetwork
from atoken.processing import AtokenProcessor
from atoken.processing.text_processing_atoken import tokenize_text
from atoken.training.data.batches import collate
from atoken.training.data.samples import Limits, make_sample
from atoken.training.recipes.tiny.text_tower import LENGTH
from atoken.training.tokenizer import objective as objective_module
from atoken.training.tokenizer.losses import distillation_loss, sigmoid_loss
from atoken.training.tokenizer.noise import sample_noise
from atoken.training.tokenizer.objective import Objective, model_state
from atoken.training.tokenizer.perceptual import ClipLoss, Crops, StLpipsLosses, VggLosses

from ..stage_samples import make_start, write_objects, write_photos
from ..whole_batches import losses_of

LIMITS = Limits(image_resolution=(48, 64), video_resolution=(32, 32), frames=(8,), understanding_tokens=9)
TEXTS = ["a plain red ball", "a striped blue cube", "something green"]


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return make_start(tmp_path_factory.mktemp("start"), gaussians=True)


@pytest.fixture
def model(start):
    return AtokenModel.from_pretrained(start).float()


@pytest.fixture(scope="module")
def batch_of(start, tmp_path_factory):
    """Makes a batch of a task, the same every time."""
    folder = tmp_path_factory.mktemp("data")
    photos = sorted(write_photos(folder / "photos").iterdir())
    objects = sorted(write_objects(folder / "objects").iterdir())
    tokenizer = AtokenProcessor.from_pretrained(start).tokenizer
    clips = torch.randint(0, 256, (3, 8, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)

    def make(task):
        media = {"image": photos, "video": list(clips), "3d": objects}[task.partition("_")[0]]
        examples = [{"media": one, "caption": text} for one, text in zip(media, TEXTS, strict=False)]
        samples = [make_sample(task, example, LIMITS, np.random.default_rng(i)) for i, example in enumerate(examples)]
        return collate(task, samples, range(7, 10), lambda texts: tokenize_text(tokenizer, texts, max_length=LENGTH))

    return make


def objective_of(model, image=("l1",), three_d=("l1",), teacher=None, **networks) -> Objective:
    torch.manual_seed(1)
    weights = {"image": dict.fromkeys(image, 2.0), "video": {"l1": 3.0}, "3d": dict.fromkeys(three_d, 5.0)}
    return Objective(model, weights, teacher, math.log(50), **networks).train()


def still(model: AtokenModel) -> AtokenModel:
    """Takes the noise in the latents away, up to 4e-44."""
    with torch.no_grad():
        model.latent_proj.weight[model.config.latent_channels :] = 0
    model.latent_proj.register_forward_hook(
        lambda _, __, output: torch.cat([output.chunk(2, -1)[0], output.chunk(2, -1)[1] - 200], dim=-1)
    )
    return model


class Others:
    """Stands in for the agreement of processes, of which another one has texts for the tower or not."""

    def __init__(self, need_the_tower: bool):
        self.need_the_tower = need_the_tower

    def any(self, value: bool) -> bool:
        return value or self.need_the_tower


@pytest.mark.parametrize("known, others, passes", [(0, False, 3), (1, False, 3), (2, True, 3), (2, False, 0)])
def test_the_text_tower_runs_as_often_in_every_process(known, others, passes, model, batch_of, monkeypatch):
    monkeypatch.setattr(objective_module, "TEXTS_AT_ONCE", 2)
    objective = Objective(model, {}, agreement=Others(others))
    batches = [batch_of("image_understanding") for _ in range(2)]
    expected = model.text_model(input_ids=batches[0].input_ids).pooler_output
    for batch in batches:
        batch.step_samples = [6, 5]  # of which 3 are in each of this process's micro batches
    for batch in batches[:known]:
        batch.text_embeds, batch.input_ids = expected, None
    calls = []
    model.text_model.register_forward_hook(lambda *_: calls.append(1))
    texts = objective(batches)
    assert len(calls) == passes and [each.first for each in texts] == [0, 3]
    torch.testing.assert_close(texts[1].embeds, torch.cat([expected, expected]))


@pytest.mark.parametrize("task, weight", [("image_reconstruction", 2.0), ("video_reconstruction", 3.0)])
def test_reconstruction_is_l1_and_kl(model, batch_of, task, weight):
    batch = batch_of(task)
    parts = losses_of(objective_of(still(model)), batch)
    packed = batch.pixel_values, batch.coords, batch.cu_seqlens
    encoded = model.encode(*packed)
    decoded = model.decode(encoded.latents, batch.coords, batch.cu_seqlens).pixel_values
    frames = 768 if task.startswith("image") else 3072
    l1 = (decoded - batch.pixel_values)[:, :frames].abs().double().mean()
    kl = encoded.latent_dist.kl().double().mean()
    torch.testing.assert_close(parts["l1"].double(), l1, rtol=1e-5, atol=0)
    torch.testing.assert_close(parts["kl"].double(), kl, rtol=1e-5, atol=0)
    torch.testing.assert_close(parts["loss"].double(), 0.2 * weight * l1 + 1e-8 * kl, rtol=1e-5, atol=0)


def test_every_picture_counts_alike_in_log_mse(model, batch_of):
    batch = batch_of("image_reconstruction")
    parts = losses_of(objective_of(still(model), ("l1", "log_mse")), batch)
    encoded = model.encode(batch.pixel_values, batch.coords, batch.cu_seqlens)
    decoded = model.decode(encoded.latents, batch.coords, batch.cu_seqlens).pixel_values
    errors = (decoded - batch.pixel_values)[:, :768].double().square()
    found = [(part.mean() + 1e-5).log() for part in errors.split(batch.cu_seqlens.diff().tolist())]
    assert len(found) > 1
    torch.testing.assert_close(parts["log_mse"].double(), torch.stack(found).mean().detach(), rtol=1e-4, atol=0)


def test_noise_belongs_to_samples_not_to_batches(model, batch_of):
    batch = batch_of("image_reconstruction")
    found = losses_of(objective_of(model), batch)["l1"]
    encoded = model.encode(batch.pixel_values, batch.coords, batch.cu_seqlens)

    def l1(first: int) -> torch.Tensor:
        """Gives the loss if the samples were numbered from `first` on, each in a batch of its own."""
        numbered = enumerate(batch.cu_seqlens.diff().tolist(), start=first)
        noise = [sample_noise(0, torch.tensor([n]), torch.tensor([0, length]), length, 12) for n, length in numbered]
        latents = encoded.latents + (0.5 * encoded.latent_dist.logvar).exp() * torch.cat(noise)
        decoded = model.decode(latents, batch.coords, batch.cu_seqlens).pixel_values
        return (decoded - batch.pixel_values)[:, :768].abs().mean().detach()

    assert batch.numbers == [7, 8, 9]
    torch.testing.assert_close(found, l1(7), rtol=1e-6, atol=0)
    assert abs(found - l1(8)) > 1e-4 * found


def test_perceptual_parts_are_added(model, batch_of):
    torch.manual_seed(0)
    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1, image_size=224, patch_size=56
    )
    networks = {
        "trunk": VggLosses(random=True),
        "clip": ClipLoss(CLIPVisionModelWithProjection(vision), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)),
    }
    batch = batch_of("image_reconstruction")
    objective = objective_of(still(model), ("l1", "lpips", "gram", "clip"), **networks)
    parts = losses_of(objective, batch)
    encoded = model.encode(batch.pixel_values, batch.coords, batch.cu_seqlens)
    decoded = model.decode(encoded.latents, batch.coords, batch.cu_seqlens).pixel_values
    found, target = (_pictures(patches, batch) for patches in (decoded, batch.pixel_values))
    lpips, gram = networks["trunk"](found, target)
    clip = networks["clip"](found, target)
    for name, value in (("lpips", lpips), ("gram", gram), ("clip", clip)):
        torch.testing.assert_close(parts[name], value.detach(), rtol=1e-4, atol=1e-7)
    expected = 0.2 * 2 * (parts["l1"] + lpips + gram + clip) + 1e-8 * parts["kl"]
    torch.testing.assert_close(parts["loss"].detach(), expected.detach(), rtol=1e-4, atol=0)
    assert networks["trunk"](target, target)[0] == 0
    parts["loss"].backward()
    assert not any(parameter.grad is not None for network in networks.values() for parameter in network.parameters())
    assert model.decoder.out_layer.weight.grad.abs().sum() > 0


def test_st_lpips_sees_crops_that_a_resumed_run_sees_too(model, batch_of):
    torch.manual_seed(0)
    trunk = StLpipsLosses(network=StLpipsNetwork("alex"), crops=Crops(side=32, share=0.5))
    batch = batch_of("image_reconstruction")
    objective = objective_of(still(model), ("l1", "st_lpips_alex", "gram"), trunk=trunk)
    parts = losses_of(objective, batch)
    assert set(parts) == {"loss", "l1", "st_lpips_alex", "gram", "kl"}
    sizes = [(16 * rows, 16 * columns) for _, rows, columns in batch.grids]
    crops = trunk.crops.choose(sizes, "0 [7, 8, 9]")
    assert len(crops) == 2
    encoded = model.encode(batch.pixel_values, batch.coords, batch.cu_seqlens)
    decoded = model.decode(encoded.latents, batch.coords, batch.cu_seqlens).pixel_values
    sides = [_native_pictures(patches, batch) for patches in (decoded, batch.pixel_values)]
    found = [trunk(*(side[crop.index][..., crop.rows, crop.columns] for side in sides)) for crop in crops]
    for name, index in (("st_lpips_alex", 0), ("gram", 1)):
        expected = torch.stack([one[index] for one in found]).mean().detach()
        torch.testing.assert_close(parts[name], expected, rtol=1e-4, atol=1e-9)
    again = losses_of(objective, batch)
    assert {name: float(part) for name, part in again.items()} == {name: float(part) for name, part in parts.items()}
    objective.seed = 1
    assert float(losses_of(objective, batch)["st_lpips_alex"]) != float(parts["st_lpips_alex"])
    parts["loss"].backward()
    assert model.decoder.out_layer.weight.grad.abs().sum() > 0


def _pictures(patches: torch.Tensor, batch) -> torch.Tensor:
    """Unpacks first frames, 224 x 224."""
    pictures = _native_pictures(patches, batch)
    return torch.cat([F.interpolate(one, (224, 224), mode="bilinear", antialias=True) for one in pictures])


def _native_pictures(patches: torch.Tensor, batch) -> list[torch.Tensor]:
    """Unpacks first frames by plain loops over patches, (1, 3, H, W) each."""
    pictures = []
    for tokens, (_, rows, columns) in zip(patches.split(batch.cu_seqlens.diff().tolist()), batch.grids, strict=True):
        picture = torch.zeros(3, 16 * rows, 16 * columns)
        for index, token in enumerate(tokens.detach()):
            row, column = 16 * (index // columns), 16 * (index % columns)
            picture[:, row : row + 16, column : column + 16] = token[:768].reshape(16, 16, 3).permute(2, 0, 1)
        pictures.append(picture[None])
    return pictures


def test_objects_are_compared_by_their_views(model, batch_of):
    batch = batch_of("3d_reconstruction")
    parts = losses_of(objective_of(still(model)), batch)
    encoded = model.encode(batch.pixel_values, batch.coords, batch.cu_seqlens)
    errors = []
    for index, gaussians in enumerate(model.decode_gaussians(encoded.latents, batch.coords, batch.cu_seqlens)):
        pictures = render(gaussians, batch.cameras[index], 32)
        errors.append((pictures - batch.views[index].float() / 255).abs().mean())
    torch.testing.assert_close(parts["l1"], torch.stack(errors).mean().detach(), rtol=1e-5, atol=0)
    parts["loss"].backward()
    assert model.gaussian_decoder.input_layer.weight.grad.abs().sum() > 0
    assert model.vision_model.input_layer.weight.grad.abs().sum() > 0


def test_every_view_counts_alike_in_log_mse(model, batch_of):
    batch = batch_of("3d_reconstruction")
    parts = losses_of(objective_of(still(model), three_d=("l1", "log_mse")), batch)
    encoded = model.encode(batch.pixel_values, batch.coords, batch.cu_seqlens)
    found = []
    for index, gaussians in enumerate(model.decode_gaussians(encoded.latents, batch.coords, batch.cu_seqlens)):
        errors = render(gaussians, batch.cameras[index], 32).double() - batch.views[index].double() / 255
        found.append((4 * errors.square().mean((1, 2, 3)) + 1e-5).log().mean())  # of values in [-1, 1]
    torch.testing.assert_close(parts["log_mse"].double(), torch.stack(found).mean().detach(), rtol=1e-4, atol=0)


def test_views_may_be_compared_by_lpips(model, batch_of):
    torch.manual_seed(0)
    trunk = VggLosses(random=True)
    batch = batch_of("3d_reconstruction")
    parts = losses_of(objective_of(still(model), three_d=("l1", "lpips"), trunk=trunk), batch)
    encoded = model.encode(batch.pixel_values, batch.coords, batch.cu_seqlens)
    expected = []
    for index, gaussians in enumerate(model.decode_gaussians(encoded.latents, batch.coords, batch.cu_seqlens)):
        sides = render(gaussians, batch.cameras[index], 32), batch.views[index].float() / 255
        sized = [F.interpolate(2 * side - 1, (224, 224), mode="bilinear", antialias=True) for side in sides]
        expected.append(trunk.lpips(*sized).mean())
    torch.testing.assert_close(parts["lpips"], torch.stack(expected).mean().detach(), rtol=1e-4, atol=1e-7)
    with pytest.raises(ValueError, match="trunk must be given for 3d losses l1, lpips, got None"):
        objective_of(model, three_d=("l1", "lpips"))


def test_images_are_distilled_and_nothing_frozen_gets_a_gradient(model, start, batch_of):
    teacher = AtokenVisionModel.from_pretrained(start).float()
    with torch.no_grad():
        teacher.head.probe.add_(0.5)
    batch = batch_of("image_understanding")
    objective = objective_of(model, teacher=teacher)
    parts = losses_of(objective, batch)
    packed = batch.pixel_values, batch.coords, batch.cu_seqlens
    texts = model.text_model(input_ids=batch.input_ids).pooler_output
    prediction, target = model.vision_model(*packed).pooler_output, teacher(*packed).pooler_output
    expected = distillation_loss(prediction, target, texts, math.log(50))
    torch.testing.assert_close(parts["loss"], expected, rtol=1e-6, atol=0)
    parts["loss"].backward()
    got = {name.split(".")[0] for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert got == {"vision_model"}
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert not teacher.training and not model.text_model.training and model.vision_model.training
    assert not any(name.startswith("frozen") or "teacher" in name for name in objective.state_dict())


@pytest.mark.parametrize("task", ["video_understanding", "3d_understanding"])
def test_videos_and_objects_are_contrasted(model, start, batch_of, task):
    objective = objective_of(model, teacher=AtokenVisionModel.from_pretrained(start).float())
    batch = batch_of(task)
    parts = losses_of(objective, batch)
    texts = model.text_model(input_ids=batch.input_ids).pooler_output
    found = model.vision_model(batch.pixel_values, batch.coords, batch.cu_seqlens).pooler_output
    expected = sigmoid_loss(found, texts, 0, torch.tensor(math.log(10)), torch.tensor(-10.0))
    torch.testing.assert_close(parts["loss"], expected, rtol=1e-6, atol=0)
    parts["loss"].backward()
    got = {name.split(".")[0] for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert got == {"vision_model", "logit_scale", "logit_bias"}


def test_the_model_is_saved_with_its_own_shapes(model, start):
    before = {name: value.shape for name, value in model.state_dict().items()}
    after = model_state(objective_of(model).state_dict())
    assert {name: value.shape for name, value in after.items()} == before


def test_what_is_missing_is_named(model):
    with pytest.raises(ValueError, match="trunk must be given for image losses l1, lpips, got None"):
        objective_of(model, ("l1", "lpips"))
    with pytest.raises(ValueError, match="trunk must be that of lpips, got that of st_lpips_alex"):
        objective_of(model, ("l1", "lpips"), trunk=StLpipsLosses(network=StLpipsNetwork("alex")))
    with pytest.raises(ValueError, match="losses of 3d must be among l1, log_mse, ms_ssim, lpips, got gram"):
        objective_of(model, three_d=("gram",))
