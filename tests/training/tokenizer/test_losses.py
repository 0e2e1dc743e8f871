"""Losses without networks against their formulas in float64 numpy; where gradients go; two processes."""

import math

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing

from atoken.training.tokenizer.losses import (
    SIGMOID_BIAS,
    SIGMOID_SCALE,
    distillation_loss,
    gather_texts,
    kl_loss,
    l1_loss,
    log_mse_loss,
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
    assert float(sigmoid_loss(samples, texts, 0, scale, bias)) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match="texts"):
        sigmoid_loss(samples, texts, 1, scale, bias)


def _both_losses(samples: torch.Tensor, texts: torch.Tensor, first: int, teacher: torch.Tensor) -> torch.Tensor:
    scale, bias = torch.tensor(SIGMOID_SCALE), torch.tensor(SIGMOID_BIAS)
    contrasted = sigmoid_loss(samples, texts, first, scale, bias)
    return contrasted + distillation_loss(samples, teacher, texts, math.log(20.0))


def _work(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    # Two samples and four: a plan may give processes different numbers.
    part, counts = (slice(0, 2), slice(2, 6))[rank], [2, 4]
    samples, texts, teacher = (_random(6, 8, seed=seed)[part].requires_grad_() for seed in range(3))
    everything, first = gather_texts(texts.detach(), counts)
    loss = _both_losses(samples, everything, first, teacher) * counts[rank] / 6
    loss.backward()
    torch.save({"loss": loss.detach(), "samples": samples.grad}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_gloo_available(), reason="torch was built without gloo")
def test_two_processes_see_all_texts(tmp_path):
    torch.multiprocessing.spawn(_work, (str(tmp_path),), nprocs=2)
    samples, texts, teacher = (_random(6, 8, seed=seed).requires_grad_() for seed in range(3))
    expected = _both_losses(samples, texts, 0, teacher)
    expected.backward()
    found = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    assert float(sum(one["loss"] for one in found)) == pytest.approx(float(expected), rel=1e-6)
    torch.testing.assert_close(torch.cat([one["samples"] for one in found]), samples.grad, atol=1e-6, rtol=1e-5)
