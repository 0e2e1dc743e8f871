"""Every loss against its formula in float64 numpy or the package that defines it; where gradients go; two processes."""

import math

import lpips
import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
import transformers

from atoken.training.tokenizer.losses import (
    SIGMOID_BIAS,
    SIGMOID_SCALE,
    ClipLoss,
    VggLosses,
    distillation_loss,
    gram_matrix,
    kl_loss,
    l1_loss,
    log_mse_loss,
    perceptual_size,
    sigmoid_loss,
)


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_l1_counts_what_is_valid():
    first, second, valid = _random(6, 8), _random(6, 8, seed=1), _random(6, 8, seed=2) > 0
    error = np.abs(first.double().numpy() - second.double().numpy())
    assert float(l1_loss(first, second)) == pytest.approx(error.mean(), abs=1e-6)
    assert float(l1_loss(first, second, valid)) == pytest.approx(error[valid.numpy()].mean(), abs=1e-6)
    rows = torch.tensor([1, 1, 0, 0, 0, 0])[:, None]
    assert float(l1_loss(first, second, rows)) == pytest.approx(error[:2].mean(), abs=1e-6)


def test_log_mse_is_psnr_but_for_a_factor():
    first, second = _random(9, 6, seed=0) / 4, _random(9, 6, seed=1) / 4
    samples = [(first[:2], second[:2]), (first[2:], second[2:])]
    psnr = [20 * math.log10(2) - 10 * math.log10((a - b).double().square().mean()) for a, b in samples]
    expected = [-(each - 20 * math.log10(2)) * math.log(10) / 10 for each in psnr]
    assert float(log_mse_loss(first, second, [2, 7])) == pytest.approx(np.mean(expected), abs=1e-3)
    assert float(log_mse_loss(first, first, [2, 7])) == pytest.approx(math.log(1e-5), rel=1e-6)


def test_kl_by_formula_and_by_torch():
    mean, logvar = _random(7, 5), _random(7, 5, seed=1)
    m, v = mean.double().numpy(), logvar.double().numpy()
    expected = (0.5 * (m**2 + np.exp(v) - 1 - v)).sum(1).mean()
    assert float(kl_loss(mean, logvar)) == pytest.approx(expected, rel=1e-6)
    prior = torch.distributions.Normal(0.0, 1.0)
    posterior = torch.distributions.Normal(mean, (logvar / 2).exp())
    other = torch.distributions.kl_divergence(posterior, prior).sum(-1).mean()
    assert float(kl_loss(mean, logvar)) == pytest.approx(float(other), rel=1e-5)


@pytest.fixture(scope="module")
def vgg() -> VggLosses:
    torch.manual_seed(0)
    return VggLosses(random=True)


def _images(seed: int) -> torch.Tensor:
    return torch.rand(2, 3, 48, 80, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_lpips_is_that_of_the_package_with_the_same_weights(vgg):
    reference = lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False).eval()
    reference.load_state_dict(vgg.lpips.state_dict())
    with torch.no_grad():
        found, _ = vgg(_images(0), _images(1))
        expected = reference(perceptual_size(_images(0)), perceptual_size(_images(1))).mean()
    assert float(found) == pytest.approx(float(expected), rel=1e-5) and float(found) > 0


def test_gram_by_formula(vgg):
    with torch.no_grad():
        _, found = vgg(_images(0), _images(1))
        sides = [vgg.lpips.net(vgg.lpips.scaling_layer(perceptual_size(_images(seed)))) for seed in (0, 1)]
    expected = 0.0
    for first, second in zip(*sides, strict=True):
        for one, other in zip(first.double().numpy(), second.double().numpy(), strict=True):
            channels, height, width = one.shape
            grams = [
                x.reshape(channels, -1) @ x.reshape(channels, -1).T / (channels * height * width) for x in (one, other)
            ]
            expected += ((grams[0] - grams[1]) ** 2).sum() / 2  # mean over two images
    assert float(found) == pytest.approx(expected, rel=1e-4) and expected > 0


def test_gram_matrix_by_hand():
    features = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])  # two channels of 1x2
    assert gram_matrix(features).tolist() == [[[5 / 4, 11 / 4], [11 / 4, 25 / 4]]]


def test_equal_images_cost_nothing_and_gradients_go_to_the_reconstruction_alone(vgg):
    images = _images(0).requires_grad_()
    found = vgg(images, images.detach())
    assert [float(one) for one in found] == [0.0, 0.0]
    target = _images(1).requires_grad_()
    sum(vgg.train()(images, target)).backward()
    assert images.grad.abs().sum() > 0 and target.grad is None
    assert all(parameter.grad is None for parameter in vgg.parameters()) and not vgg.lpips.training


def test_losses_are_safe_in_bf16(vgg):
    first, second = _images(0), _images(1)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        low = [*vgg(first.bfloat16(), second.bfloat16()), l1_loss(first.bfloat16(), second.bfloat16())]
    with torch.no_grad():
        rounded = [image.bfloat16().float() for image in (first, second)]
        high = [*vgg(*rounded), l1_loss(*rounded)]
    for one, other in zip(low, high, strict=True):
        assert one.dtype == torch.float32 and float(one) == pytest.approx(float(other), rel=1e-5)


@pytest.fixture(scope="module")
def tower():
    torch.manual_seed(0)
    config = transformers.CLIPVisionConfig(
        hidden_size=32, intermediate_size=37, num_hidden_layers=1, num_attention_heads=4, image_size=32, patch_size=8
    )
    return transformers.CLIPVisionModelWithProjection(config)


def test_clip_loss_is_one_minus_the_cosine(tower):
    mean, std = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)
    loss = ClipLoss(tower, mean, std)
    images, target = _images(0).requires_grad_(), _images(1)
    found = loss(images, target)
    embeddings = []
    for picture in (images.detach(), target):
        small = torch.nn.functional.interpolate(perceptual_size(picture), (32, 32), mode="bilinear", antialias=True)
        pixels = np.stack([((small[:, c].numpy() + 1) / 2 - mean[c]) / std[c] for c in range(3)], 1)
        with torch.no_grad():
            embeddings.append(tower(torch.from_numpy(pixels).float()).image_embeds.double().numpy())
    a, b = embeddings
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert float(found) == pytest.approx(1 - cosine.mean(), abs=1e-5)
    found.backward()
    assert images.grad.abs().sum() > 0 and all(parameter.grad is None for parameter in tower.parameters())


def _cosines(a: torch.Tensor, b: torch.Tensor) -> np.ndarray:
    a, b = a.detach().double().numpy(), b.detach().double().numpy()
    return (a / np.linalg.norm(a, axis=1, keepdims=True)) @ (b / np.linalg.norm(b, axis=1, keepdims=True)).T


def test_distillation_by_formula():
    student, teacher, texts = (
        _random(4, 6).requires_grad_(),
        _random(4, 6, seed=1).requires_grad_(),
        _random(4, 6, seed=2),
    )
    texts.requires_grad_()
    found = distillation_loss(student, teacher, texts, math.log(50.0))
    p, q = (np.exp(50 * _cosines(side, texts) / 2) for side in (teacher, student))
    p, q = p / p.sum(1, keepdims=True), q / q.sum(1, keepdims=True)
    assert float(found) == pytest.approx((p * np.log(p / q)).sum(1).mean(), rel=1e-5)
    found.backward()
    assert student.grad.abs().sum() > 0 and teacher.grad is None and texts.grad is None
    assert float(distillation_loss(teacher, teacher, texts, math.log(50.0))) == pytest.approx(0.0, abs=1e-6)


def test_sigmoid_loss_by_formula():
    samples, texts = _random(5, 6), _random(5, 6, seed=1)
    scale, bias = torch.tensor(SIGMOID_SCALE), torch.tensor(SIGMOID_BIAS)
    signs = 2 * np.eye(5) - 1
    expected = np.log1p(np.exp(-signs * (10 * _cosines(samples, texts) - 10))).sum(1).mean()
    assert float(sigmoid_loss(samples, texts, scale, bias)) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match="texts"):
        sigmoid_loss(samples, texts[:4], scale, bias)


def _both_losses(samples: torch.Tensor, texts: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    scale, bias = torch.tensor(SIGMOID_SCALE), torch.tensor(SIGMOID_BIAS)
    return sigmoid_loss(samples, texts, scale, bias) + distillation_loss(samples, teacher, texts, math.log(20.0))


def _work(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    part = slice(3 * rank, 3 * rank + 3)
    samples, texts, teacher = (_random(6, 8, seed=seed)[part].requires_grad_() for seed in range(3))
    loss = _both_losses(samples, texts, teacher)
    loss.backward()
    torch.save({"loss": loss.detach(), "samples": samples.grad, "texts": texts.grad}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_gloo_available(), reason="torch was built without gloo")
def test_two_processes_see_all_texts(tmp_path):
    torch.multiprocessing.spawn(_work, (str(tmp_path),), nprocs=2)
    samples, texts, teacher = (_random(6, 8, seed=seed).requires_grad_() for seed in range(3))
    expected = _both_losses(samples, texts, teacher)
    expected.backward()
    found = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    # Data parallelism takes the mean over processes.
    assert float(sum(one["loss"] for one in found) / 2) == pytest.approx(float(expected), rel=1e-6)
    for name, value in (("samples", samples), ("texts", texts)):
        torch.testing.assert_close(torch.cat([one[name] for one in found]) / 2, value.grad, atol=1e-6, rtol=1e-5)
