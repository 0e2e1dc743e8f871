"""Metrics in two real processes: what each of them has seen is summed up."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing

from atoken.evaluation.metrics.distributions import FeatureStatistics
from atoken.evaluation.metrics.reconstruction import CodebookUse, Psnr, Ssim
from atoken.evaluation.metrics.understanding import ZeroShotAccuracy


def _samples() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    originals = torch.randint(0, 256, (7, 1, 3, 16, 16), generator=generator, dtype=torch.uint8)
    return {
        "originals": originals,
        "results": torch.randint(0, 256, originals.shape, generator=generator, dtype=torch.uint8),
        "features": torch.randn(7, 5, generator=generator),
        "codes": torch.randint(0, 4, (7, 2), generator=generator),
        "labels": torch.randint(0, 5, (7,), generator=generator),
    }


def _measure(part: slice) -> dict[str, float]:
    samples = {name: value[part] for name, value in _samples().items()}
    metrics = {
        "psnr": Psnr(),
        "ssim": Ssim(),
        "features": FeatureStatistics(5),
        "codes": CodebookUse((4, 4)),
        "accuracy": ZeroShotAccuracy(),
    }
    metrics["psnr"].update(samples["results"], samples["originals"])
    metrics["ssim"].update(samples["results"], samples["originals"])
    metrics["features"].update(samples["features"])
    metrics["codes"].update(samples["codes"])
    metrics["accuracy"].update(samples["features"], samples["labels"])
    gaussian = metrics["features"].compute()
    return {
        "psnr": float(metrics["psnr"].compute()),
        "ssim": float(metrics["ssim"].compute()),
        "mean": float(gaussian.mean.sum()),
        "covariance": float(gaussian.covariance.sum()),
        **metrics["codes"].compute(),
        **metrics["accuracy"].compute(),
    }


def _work(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    found = _measure(slice(rank, None, 2))
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_gloo_available(), reason="torch was built without gloo")
def test_two_processes_are_as_one(tmp_path):
    torch.multiprocessing.spawn(_work, (str(tmp_path),), nprocs=2)
    expected = _measure(slice(None))
    for rank in range(2):
        assert torch.load(tmp_path / f"{rank}.pt", weights_only=True) == pytest.approx(expected, abs=1e-9)
