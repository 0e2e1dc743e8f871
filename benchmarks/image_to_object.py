"""Stage 2 of image to 3D: what finding neighbors costs, and what is saved by what does not depend on the time.

python benchmarks/image_to_object.py
python benchmarks/image_to_object.py --layers 1 --repeats 3 --json benchmarks/results/cpu-image-to-object.json

The objects are shells of a sphere, the weights random. "cached" is a forward pass with and one without condition, as a
sampler needs them, with neighbors and the condition's keys computed before; "plain" computes both in each pass, and
takes zeros for no condition.
"""

import argparse
from pathlib import Path
from statistics import median

import torch
from measure import interleaved, peak_memory, ratios, write_json
from rich.console import Console
from rich.table import Table

from atoken.generation import StructuredLatentFlowModel
from atoken.generation.sparse_grid_atoken import SparseLayout

RADIUS, SIDE = 29, 64
CONDITION = (1374, 1024)  # tokens of DINOv2 of a picture of 518 pixels, and their channels


def shell(count: int, device: torch.device) -> torch.Tensor:
    """Gives the (count, 4) voxels that lie nearest to the surface of a sphere."""
    axis = torch.arange(SIDE)
    voxels = torch.cartesian_prod(axis, axis, axis)
    distance = ((voxels - (SIDE - 1) / 2).square().sum(1).sqrt() - RADIUS).abs()
    chosen = voxels[distance.argsort(stable=True)[:count].sort().values]
    return torch.nn.functional.pad(chosen, (1, 0)).to(device)


@torch.no_grad()
def run_stage_2(layers: int, voxels: int, repeats: int, device: torch.device, dtype: torch.dtype) -> dict:
    """Times building the layout beside two passes, with and without what can be kept."""
    torch.manual_seed(0)
    model = StructuredLatentFlowModel.from_preset("L", num_layers=layers).to(device, dtype).eval()
    torch.nn.init.normal_(model.proj_out.weight, std=0.02)  # else all velocities are zero
    for block in model.transformer_blocks:  # else nothing comes of a condition of zeros
        torch.nn.init.normal_(block.cross_attn.to_kv.bias, std=0.5)
    coords, starts = shell(voxels, device), torch.tensor([0, voxels], device=device)
    noisy = torch.randn(voxels, model.config.in_channels, device=device, dtype=dtype)
    seen = torch.randn(1, *CONDITION, device=device, dtype=dtype)
    zeros, time = torch.zeros_like(seen), torch.full((1,), 500.0, device=device)
    layout, keys = SparseLayout.build(coords, starts, SIDE), model.condition_keys(seen)

    def cached() -> list[torch.Tensor]:
        return [model(noisy, coords, starts, time, each, layout).sample for each in (keys, None)]

    def plain() -> list[torch.Tensor]:
        return [model(noisy, coords, starts, time, each).sample for each in (seen, zeros)]

    difference = max(float((one - other).abs().max()) for one, other in zip(cached(), plain(), strict=True))
    functions = {"neighbors": lambda: SparseLayout.build(coords, starts, SIDE), "cached": cached, "plain": plain}
    times = interleaved(functions, repeats, device, warmup=0)  # the passes above were enough
    return {
        "case": f"stage 2, L with {layers} blocks, {voxels:,} voxels in {len(layout.cells.coords):,} cells",
        "seconds": times,
        # Of one pass: the cached case has two.
        "neighbors / pass": median(times["neighbors"]) / (median(times["cached"]) / 2),
        "plain / cached": ratios(times["plain"], times["cached"]),
        "largest difference": difference,
        "peak bytes of a pass": peak_memory(lambda: model(noisy, coords, starts, time, keys, layout), device),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default=None, help="default: float32 on a CPU, bfloat16 on a GPU")
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--voxels", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    dtype = getattr(torch, arguments.dtype or ("float32" if device.type == "cpu" else "bfloat16"))
    result = run_stage_2(arguments.layers, arguments.voxels, arguments.repeats, device, dtype)
    table = Table(result["case"], "")
    for name, times in result["seconds"].items():
        table.add_row(f"{name}, median ms", f"{1000 * median(times):.1f}")
    table.add_row("neighbors / pass", f"{result['neighbors / pass']:.4f}")
    table.add_row("plain / cached", f"{result['plain / cached']['median']:.3f}")
    table.add_row("largest difference", f"{result['largest difference']:.2g}")
    Console().print(table)
    if arguments.json:
        protocol = {"layers": arguments.layers, "repeats": arguments.repeats, "dtype": str(dtype)}
        write_json(arguments.json, "benchmarks/image_to_object.py", device, protocol, [result])


if __name__ == "__main__":
    main()
