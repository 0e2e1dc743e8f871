"""How long does plain torch take for a picture of 640,000 Gaussians, and how much memory?

    python benchmarks/rendering.py

The Gaussians lie on a ball's surface, 32 in each of 20,000 voxels, in sizes and opacities such as a trained decoder
gives. The same picture of half as many is timed in turns with it.
"""

import argparse
from pathlib import Path
from statistics import median

import torch
from measure import interleaved, machine, mebibytes, peak_memory, write_json
from rich.console import Console
from rich.table import Table

from atoken import Gaussians, render
from atoken.processing import hammersley_cameras

DEVICE = torch.device("cpu")
VOXELS, PER_VOXEL = 20_000, 32
BOUNDS = {256: (20.0, 4096)}  # seconds, MiB


def shell(per_voxel: int) -> Gaussians:
    """Gaussians on a sphere of radius 0.45."""
    generator = torch.Generator().manual_seed(0)
    centers = torch.nn.functional.normalize(torch.randn(VOXELS, 3, generator=generator)) * 0.45
    means = centers[:, None] + (torch.rand(VOXELS, per_voxel, 3, generator=generator) - 0.5) * 1.5 / 64
    count = VOXELS * per_voxel
    return Gaussians(
        means.flatten(0, 1),
        torch.randn(count, 4, generator=generator),
        0.004 * torch.exp(0.4 * torch.randn(count, 3, generator=generator)),
        torch.rand(count, generator=generator),
        torch.randn(count, 3, generator=generator),
    )


def run(size: int, repeats: int) -> dict:
    """One size of picture."""
    camera = hammersley_cameras(1, offset=(0.3, 0.2))
    scenes = {"whole": shell(PER_VOXEL), "half": shell(PER_VOXEL // 2)}
    functions = {name: lambda scene=scene: render(scene, camera, size) for name, scene in scenes.items()}
    times = interleaved(functions, repeats, DEVICE)
    return {
        "gaussians": len(scenes["whole"]),
        "size": size,
        "seconds": median(times["whole"]),
        "ratio_to_half_as_many": median(times["whole"]) / median(times["half"]),
        "peak_memory_bytes": peak_memory(functions["whole"], DEVICE),
    }


def table(results: list[dict]) -> Table:
    """One row per size."""
    shown = Table(title="Rendering in plain torch, float32, cpu")
    for column in ("Gaussians", "pixels", "seconds", "bound", "x half as many", "peak MiB", "bound MiB"):
        shown.add_column(column, justify="right", no_wrap=True)
    for result in results:
        bounds = [f"{bound:g}" for bound in BOUNDS.get(result["size"], ())] or ["", ""]
        shown.add_row(
            *(
                f"{result['gaussians']:,}",
                f"{result['size']} x {result['size']}",
                f"{result['seconds']:.3f}",
                bounds[0],
            ),
            *(f"{result['ratio_to_half_as_many']:.2f}", mebibytes(result["peak_memory_bytes"]), bounds[1]),
        )
    return shown


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu"], default="cpu")
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512], help="pixels of a picture's side")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    if min(*arguments.sizes, arguments.repeats) < 1:
        parser.error("--sizes and --repeats must be at least 1")
    facts, console = machine(DEVICE), Console()
    console.print(f"{facts['processor']}, {facts['threads']} threads, torch {facts['torch']}")
    results = [run(size, arguments.repeats) for size in arguments.sizes]
    console.print(table(results))
    if arguments.json:
        protocol = {"dtype": "float32", "repeats": arguments.repeats, "seconds": "median of the rounds"}
        write_json(arguments.json, "rendering.py", DEVICE, protocol, results)


if __name__ == "__main__":
    main()
