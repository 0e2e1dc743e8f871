"""Speed of making voxels: from the file of a mesh to tokens, and from surface points to occupied voxels.

    python benchmarks/voxels.py
    python benchmarks/voxels.py --faces 20000 --views 4 --repeats 5

Everything runs on the CPU; the mesh is a bumpy sphere with colors, written as GLB.
"""

import argparse
import tempfile
from pathlib import Path
from statistics import median

import numpy as np
import torch
import trimesh
from measure import machine, mebibytes, peak_memory, seconds, write_json
from rich.console import Console
from rich.table import Table

from atoken.processing import AtokenVoxelProcessor, mesh_views
from atoken.processing.mesh_reading_atoken import read_mesh
from atoken.processing.voxel_processing_atoken import occupied_voxels

DEVICE = torch.device("cpu")
# What a laptop with two cores must reach, in seconds.
BOUNDS = {"mesh to tokens": 30.0, "points to voxels": 1.0}


def bumpy_sphere(faces: int) -> trimesh.Trimesh:
    """A sphere with waves on it, and at least as many faces as asked for, colored by place."""
    rings = max(4, int(np.ceil((faces / 8) ** 0.5)) + 2)
    ball = trimesh.creation.uv_sphere(count=[rings, 2 * rings])
    waves = 1 + 0.1 * np.sin(6 * ball.vertices).prod(axis=1, keepdims=True)
    colors = np.uint8((ball.vertices + 1) * 127)
    return trimesh.Trimesh(ball.vertices * waves, ball.faces, vertex_colors=colors, process=False)


def run_mesh(faces: int, views: int, size: int, repeats: int) -> dict:
    """The file of a mesh to tokens, and its parts."""
    processor = AtokenVoxelProcessor()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mesh.glb"
        bumpy_sphere(faces).export(path)
        mesh = read_mesh(path)
        seen = mesh_views(mesh, num_views=views, size=size)
        parts = {
            "read": lambda: read_mesh(path),
            "render": lambda: mesh_views(mesh, num_views=views, size=size),
            "voxels": lambda: processor(**seen.arguments()),
            "mesh to tokens": lambda: processor(**mesh_views(path, num_views=views, size=size).arguments()),
        }
        times = {name: median(seconds(part, DEVICE) for _ in range(repeats)) for name, part in parts.items()}
        memory = peak_memory(parts["mesh to tokens"], DEVICE)
    return {
        "faces": len(mesh.faces),
        "voxels": len(processor(**seen.arguments())["coords"]),
        "seconds": times,
        "peak_memory_bytes": memory,
    }


def run_points(points: int, repeats: int) -> dict:
    """Points of a sphere's surface to occupied voxels."""
    surface = torch.nn.functional.normalize(torch.randn(points, 3)) * 0.45
    times = [seconds(lambda: occupied_voxels(surface, 64), DEVICE) for _ in range(repeats + 1)][1:]
    return {
        "points": points,
        "voxels": len(occupied_voxels(surface, 64)),
        "seconds": {"points to voxels": median(times)},
        "peak_memory_bytes": peak_memory(lambda: occupied_voxels(surface, 64), DEVICE),
    }


def table(results: list[dict]) -> Table:
    """One row per part, with the bound where there is one."""
    shown = Table(title="Making voxels, float32, cpu")
    for column in ("from", "", "seconds", "bound", "voxels", "peak MiB"):
        shown.add_column(column, justify="left" if column in ("from", "") else "right", no_wrap=True)
    for result in results:
        source = f"{result['faces']:,} faces" if "faces" in result else f"{result['points']:,} points"
        for name, value in result["seconds"].items():
            whole = name in BOUNDS
            memory = mebibytes(result["peak_memory_bytes"]) if whole else ""
            bound = f"{BOUNDS[name]:g}" if whole else ""
            shown.add_row(source, name, f"{value:.3f}", bound, f"{result['voxels']:,}" if whole else "", memory)
        shown.add_section()
    return shown


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu"], default="cpu")
    parser.add_argument("--faces", type=int, default=100_000)
    parser.add_argument("--views", type=int, default=16)
    parser.add_argument("--size", type=int, default=512, help="pixels of each side of a view")
    parser.add_argument("--points", type=int, default=500_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, help="CPU threads; default: PyTorch's choice")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    for name in ("faces", "views", "size", "points", "repeats"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name}: got {getattr(arguments, name)}")
    return arguments


@torch.inference_mode()
def main() -> None:
    arguments = parse_arguments()
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    console = Console()
    console.width = console.width if console.is_terminal else 120
    facts = machine(DEVICE)
    console.print(f"{facts['processor']}, {facts['threads']} threads, torch {facts['torch']}")
    results = [
        run_mesh(arguments.faces, arguments.views, arguments.size, arguments.repeats),
        run_points(arguments.points, arguments.repeats),
    ]
    console.print(table(results))
    if arguments.json:
        protocol = {
            "dtype": "float32",
            "repeats": arguments.repeats,
            "views": arguments.views,
            "size": arguments.size,
            "seconds": "median of the rounds",
            "bounds": BOUNDS,
            "peak_memory_bytes": "one call, beyond what is held before it",
        }
        write_json(arguments.json, "voxels.py", DEVICE, protocol, results)


if __name__ == "__main__":
    main()
