"""Muon against torch's, which computes in bfloat16, and against what its update must be."""

import copy

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from atoken.training.muon import Muon, orthogonalized

SHAPES = [(24, 8), (8, 24), (8, 8)]


def _matrices() -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(*shape, generator=generator)) for shape in SHAPES]


def _train(optimizer: torch.optim.Optimizer, matrices: list[torch.nn.Parameter], steps: int = 5) -> None:
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        for matrix in matrices:
            matrix.grad = torch.randn(matrix.shape, generator=generator)
        optimizer.step()


@pytest.mark.parametrize("shape", SHAPES)
def test_directions_are_almost_orthogonal(shape):
    matrix = torch.randn(*shape, generator=torch.Generator().manual_seed(2))
    left, _, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    found = left.T @ orthogonalized(matrix).double() @ right.T
    assert float((found - found.diag().diag()).abs().max()) < 1e-4
    assert 0.65 < float(found.diag().min()) and float(found.diag().max()) < 1.25


def test_it_moves_as_torchs_does_but_for_bfloat16():
    ours, theirs = _matrices(), _matrices()
    _train(Muon(ours, lr=0.1, momentum=0.9), ours)
    _train(torch.optim.Muon(theirs, lr=0.1, momentum=0.9, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"), theirs)
    for start, one, other in zip(_matrices(), ours, theirs, strict=True):
        assert float((one - other).norm() / (other - start).norm()) < 0.02


def test_momentum_is_kept_when_it_is_saved():
    matrices, others = _matrices(), _matrices()
    optimizer, other = Muon(matrices), Muon(others)
    _train(optimizer, matrices, 3)
    with torch.no_grad():
        for target, source in zip(others, matrices, strict=True):
            target.copy_(source)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    _train(optimizer, matrices, 1)
    _train(other, others, 1)
    assert all(torch.equal(one, two) for one, two in zip(matrices, others, strict=True))


def _work(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    matrices = _matrices()
    _train(Muon(matrices, lr=0.1), matrices)
    torch.save([matrix.detach() for matrix in matrices], f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_processes_share_the_work_and_move_alike(tmp_path):
    mp.spawn(_work, (str(tmp_path),), nprocs=2)
    matrices = _matrices()
    _train(Muon(matrices, lr=0.1), matrices)
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert all(torch.equal(one, two) for one, two in zip(found, matrices, strict=True))


def test_vectors_are_refused():
    with pytest.raises(ValueError, match=r"params must be matrices, got one of shape \(3,\)"):
        Muon([torch.nn.Parameter(torch.zeros(3))])


def test_a_flag_on_the_device_skips_a_step():
    plain, flagged = _matrices(), _matrices()
    optimizers = [Muon(matrices) for matrices in (plain, flagged)]
    optimizers[1].found_inf = torch.zeros(())
    for optimizer, matrices in zip(optimizers, (plain, flagged), strict=True):
        _train(optimizer, matrices, steps=2)
    assert all(torch.equal(one, other) for one, other in zip(plain, flagged, strict=True))
    optimizers[1].found_inf = torch.ones(())
    for matrix in flagged:
        matrix.grad = torch.full_like(matrix, torch.nan)
    optimizers[1].step()
    assert all(torch.equal(one, other) for one, other in zip(plain, flagged, strict=True))
    optimizers[1].found_inf = torch.zeros(())
    for optimizer, matrices in zip(optimizers, (plain, flagged), strict=True):
        _train(optimizer, matrices, steps=1)
    assert all(torch.equal(one, other) for one, other in zip(plain, flagged, strict=True))
