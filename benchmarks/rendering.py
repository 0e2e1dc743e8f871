"""How long does plain torch take for a picture of 640,000 Gaussians, and how much memory?

    python benchmarks/rendering.py

The Gaussians are those of a solid ball's surface of 20,000 voxels with 32 in each, in the size and the opacity that a
decoder has after training. Writes results/cpu-rendering.json: seconds (the best of three) and the ratio to the same
picture of half as many Gaussians.
"""

import json
import resource
import time
from pathlib import Path

import torch

from atoken import Gaussians, render
from atoken.processing import hammersley_cameras


def shell(voxels: int, per_voxel: int) -> Gaussians:
    """Gaussians on a sphere of radius 0.45."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.nn.functional.normalize(torch.randn(voxels, 3, generator=generator)) * 0.45
    means = centres[:, None] + (torch.rand(voxels, per_voxel, 3, generator=generator) - 0.5) * 1.5 / 64
    count = voxels * per_voxel
    return Gaussians(
        means.flatten(0, 1),
        torch.randn(count, 4, generator=generator),
        0.004 * torch.exp(0.4 * torch.randn(count, 3, generator=generator)),
        torch.rand(count, generator=generator),
        torch.randn(count, 3, generator=generator),
    )


def seconds_of(gaussians: Gaussians, size: int) -> float:
    times = []
    for _ in range(3):
        start = time.perf_counter()
        render(gaussians, hammersley_cameras(1, offset=(0.3, 0.2)), size)
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    whole, half = shell(20_000, 32), shell(20_000, 16)
    rows = []
    for size in (256, 512):
        seconds = seconds_of(whole, size)
        ratio = seconds / seconds_of(half, size)
        rows.append({"gaussians": len(whole), "size": size, "seconds": seconds, "to_half_as_many": ratio})
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    record = {"threads": torch.get_num_threads(), "torch": torch.__version__, "peak_gib": peak, "cases": rows}
    target = Path(__file__).parent / "results" / "cpu-rendering.json"
    target.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
