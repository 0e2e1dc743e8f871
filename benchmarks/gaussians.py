"""Speed and memory of 3D: voxels to latents, to colors and to Gaussians, against the physical limit.

    python benchmarks/gaussians.py --device cpu
    python benchmarks/gaussians.py --voxels 5000 --official-voxels 0 --repeats 5

Every part is timed in turns with the bare matrix products and attention of the same shapes. See README.md for what the
numbers mean.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from bare_products import bare_gaussian_decoder, bare_transformer
from measure import interleaved, machine, mebibytes, peak_memory, ratios, write_json
from rich.console import Console
from rich.table import Table
from speed import DTYPES, build_model
from transformers.utils import logging

from atoken import AtokenGaussianConfig, AtokenGaussianDecoder, AtokenModel
from atoken.gaussian_conversion_atoken import attach_gaussian_decoder
from atoken.tokens_atoken import TokenBatch

RESOLUTION = 64
# Mean radii of the shells of an object, in voxels; their surfaces have about as many voxels as are wanted.
SHELLS = {5_000: (20,), 20_000: (28, 18), 40_000: (30, 23, 16)}
SMALL = {
    "hidden_size": 96,
    "intermediate_size": 384,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_gaussians": 8,
}


def shell_voxels(count: int, device: torch.device) -> torch.Tensor:
    """(count, 3) voxels of a 64^3 grid that lie nearest to the surface of one or more bumpy spheres."""
    axis = torch.arange(RESOLUTION, device=device)
    cells = torch.cartesian_prod(axis, axis, axis)  # (64^3, 3)
    x, y, z = (cells - (RESOLUTION - 1) / 2).unbind(-1)
    distance = (x * x + y * y + z * z).sqrt()
    azimuth, polar = torch.atan2(y, x), torch.atan2((x * x + y * y).sqrt(), z)
    bumps = 1 + 0.06 * torch.sin(5 * azimuth) * torch.sin(polar) + 0.03 * torch.cos(7 * polar)
    radii = next((radii for most, radii in SHELLS.items() if count <= most), SHELLS[40_000])
    gaps = torch.stack([(distance - radius * bumps).abs() for radius in radii]).amin(0)
    return cells[gaps.argsort(stable=True)[:count].sort().values]


def measure(
    parts: dict[str, tuple[Callable[[], object], Callable[[], None]]], voxels: int, repeats: int, device: torch.device
) -> dict:
    """
    Times parts and their bare products in turns.

    Args:
        parts: what to time and its bare products, by name. With more than one, "all" adds them up.
        voxels: how many each call works on.
        repeats: rounds.
        device: where they run.
    """
    functions = {f"{name} {kind}": pair[kind == "bare"] for name, pair in parts.items() for kind in ("atoken", "bare")}
    times = interleaved(functions, repeats, device)
    if len(parts) > 1:
        for kind in ("atoken", "bare"):
            rounds = zip(*(times[f"{name} {kind}"] for name in parts), strict=True)
            times[f"all {kind}"] = [sum(each) for each in rounds]
    peaks = {name: peak_memory(function, device) for name, (function, _) in parts.items()}
    if len(parts) > 1:
        peaks["all"] = None if None in peaks.values() else max(peaks.values())
    result = {}
    for name, peak in peaks.items():
        ours, bare = times[f"{name} atoken"], times[f"{name} bare"]
        result[name] = {
            "seconds": median(ours),
            "bare_seconds": median(bare),
            "ratio_to_bare": ratios(ours, bare),
            "voxels_per_second": voxels / median(ours),
            "peak_memory_bytes": peak,
        }
    return {"voxels": voxels, **result, "all_seconds": times}


def run_model(model: AtokenModel, voxels: int, repeats: int) -> dict:
    """Encoding, decoding and Gaussians of one object."""
    device, dtype = model.device, model.dtype
    places = shell_voxels(voxels, device)
    coords = torch.nn.functional.pad(places, (1, 0))  # (N, 4), t = 0
    starts = torch.tensor([0, voxels], dtype=torch.int32, device=device)
    width = model.config.gaussian_config.in_channels
    colors = torch.rand(voxels, width, device=device).to(dtype) * 2 - 1
    features = torch.nn.functional.pad(colors, (0, model.config.vision_config.patch_dim - width))
    latents = torch.randn(voxels, model.config.latent_channels, device=device).to(dtype)
    tower, decoder = model.vision_model, model.decoder
    encoding, decoding = (TokenBatch.from_packed(rows, coords, starts) for rows in (features, latents))
    parts = {
        "encode": (
            lambda: model.encode(features, coords, starts, pool=False),
            bare_transformer(tower, encoding, model.latent_proj),
        ),
        "decode": (
            lambda: model.decode(latents, coords, starts),
            bare_transformer(decoder, decoding, decoder.out_layer),
        ),
        "Gaussians": (
            lambda: model.gaussian_decoder(colors, places, starts),
            bare_gaussian_decoder(model.gaussian_decoder, places),
        ),
    }
    return measure(parts, voxels, repeats, device)


def run_official(voxels: int, repeats: int, device: torch.device, dtype: torch.dtype) -> dict:
    """The Gaussian decoder in the released size."""
    with torch.device(device):
        decoder = AtokenGaussianDecoder(AtokenGaussianConfig()).to(dtype).eval()
    places = shell_voxels(voxels, device)
    colors = torch.rand(voxels, decoder.config.in_channels, device=device).to(dtype) * 2 - 1
    starts = torch.tensor([0, voxels], dtype=torch.int32, device=device)
    parts = {"Gaussians": (lambda: decoder(colors, places, starts), bare_gaussian_decoder(decoder, places))}
    return measure(parts, voxels, repeats, device)


def table(results: list[dict], title: str) -> Table:
    """One row per number of voxels and part."""
    shown = Table(title=title)
    for column in ("model", "voxels", "", "seconds", "voxels/s", "bare s", "x bare", "peak MiB"):
        shown.add_column(column, justify="left" if column in ("model", "") else "right", no_wrap=True)
    for result in results:
        names = [name for name in ("encode", "decode", "Gaussians", "all") if name in result]
        for name in names:
            row = result[name]
            shown.add_row(
                result["name"] if name == names[0] else "",
                f"{result['voxels']:,}" if name == names[0] else "",
                name,
                f"{row['seconds']:.3f}",
                f"{row['voxels_per_second']:,.0f}",
                f"{row['bare_seconds']:.3f}",
                f"{row['ratio_to_bare']['median']:.3f}",
                mebibytes(row["peak_memory_bytes"]),
            )
        shown.add_section()
    return shown


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--voxels", type=int, nargs="*", default=list(SHELLS), help="sizes of the object for the model")
    parser.add_argument(
        "--official-voxels", type=int, default=5_000, help="for the Gaussian decoder in the released size; 0: leave out"
    )
    parser.add_argument("--repeats", type=int, default=3, help="rounds against the bare products")
    parser.add_argument("--threads", type=int, help="CPU threads; default: PyTorch's choice")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    for name, values, least in (
        ("voxels", arguments.voxels, 1),
        ("official-voxels", [arguments.official_voxels], 0),
        ("repeats", [arguments.repeats], 1),
        ("threads", [] if arguments.threads is None else [arguments.threads], 1),
    ):
        for value in values:
            if value < least or ("voxels" in name and value > RESOLUTION**3):
                parser.error(f"--{name}: got {value}")
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda needs a GPU, but PyTorch sees none")
    return arguments


@torch.inference_mode()
def main() -> None:
    arguments = parse_arguments()
    logging.set_verbosity_error()
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    device, dtype = torch.device(arguments.device), getattr(torch, DTYPES[arguments.device])
    console = Console()
    console.width = console.width if console.is_terminal else 120
    facts = machine(device)
    console.print(f"{facts.get('gpu', facts['processor'])}, {facts['threads']} threads, torch {facts['torch']}")
    results = []
    if arguments.voxels:
        gaussians = AtokenGaussianDecoder(AtokenGaussianConfig(**SMALL))
        model = attach_gaussian_decoder(build_model("tiny", None, device, dtype), gaussians.to(device, dtype).eval())
    for voxels in arguments.voxels:
        with console.status(f"{voxels:,} voxels"):
            results.append({"name": "atoken-tiny", **run_model(model, voxels, arguments.repeats)})
    if arguments.official_voxels:
        with console.status("the released size"):
            official = run_official(arguments.official_voxels, arguments.repeats, device, dtype)
        results.append({"name": "released Gaussian decoder", **official})
    console.print(table(results, f"3D, {DTYPES[arguments.device]}, {device}"))
    if arguments.json:
        protocol = {
            "gaussian_config": SMALL,
            "dtype": DTYPES[arguments.device],
            "repeats": arguments.repeats,
            "object": f"voxels nearest to the surface of bumpy spheres in a grid of {RESOLUTION}^3, one sample",
            "seconds": "median of rounds in which the compared take turns; inputs and weights are random and in memory",
            "bare": "matrix products and attention of the same shapes; windows at their true lengths, no soft-capping",
            "peak_memory_bytes": "one call, beyond weights and inputs; of all parts the largest",
        }
        write_json(arguments.json, "gaussians.py", device, protocol, results)


if __name__ == "__main__":
    main()
