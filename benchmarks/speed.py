"""Speed and memory of encoding and decoding, against the physical limit and against another autoencoder.

    python benchmarks/speed.py --size so400m --device cpu --blocks 2
    python benchmarks/speed.py --size so400m --device cuda --json results.json

Every case is timed in turns with (a) the bare matrix products and attention of the same shapes and (b) AutoencoderKLWan
of diffusers in the size of Wan 2.2, on the same image or clip. See README.md for what the numbers mean.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from bare_products import bare_decoder, bare_encoder
from measure import interleaved, machine, mebibytes, peak_memory, ratios, write_json
from rich.console import Console
from rich.table import Table
from transformers.utils import logging

from atoken import AtokenConfig, AtokenModel


@dataclass
class Case:
    """`batch` samples of `frames` frames, `side` pixels square. An image is one frame."""

    batch: int
    frames: int
    side: int


CASES = {
    "image-256": Case(1, 1, 256),
    "image-512": Case(1, 1, 512),
    "image-1024": Case(1, 1, 1024),
    "images-8x256": Case(8, 1, 256),
    "video-16x256": Case(1, 16, 256),
    "video-64x256": Case(1, 64, 256),
    "video-16x512": Case(1, 16, 512),
    "video-64x512": Case(1, 64, 512),
}
# Where convolutions over more pixels would take many minutes on a CPU.
WAN_CASES = {"cpu": ["image-256", "video-16x256"], "cuda": list(CASES)}
DTYPES = {"cpu": "float32", "cuda": "bfloat16"}


def build_model(size: str, blocks: int | None, device: torch.device, dtype: torch.dtype) -> AtokenModel:
    """A preset with random weights, and with fewer blocks on both sides if asked."""
    config = AtokenConfig.from_preset(size)
    if blocks is not None:
        config.vision_config.num_hidden_layers = config.decoder_config.num_hidden_layers = blocks
    with torch.device(device):
        return AtokenModel(config).to(dtype).eval()


def run_case(case: Case, model: AtokenModel, wan, repeats: int, wan_repeats: int) -> dict:
    """
    Times one case in both directions.

    Args:
        case: what to code.
        model: AToken.
        wan: the other autoencoder, or None to leave it out.
        repeats: rounds in which AToken and the bare products take turns.
        wan_repeats: rounds in which AToken and the other autoencoder take turns.
    """
    device, dtype = model.device, model.dtype
    video = torch.rand(case.batch, case.frames, 3, case.side, case.side, device=device).to(dtype) * 2 - 1
    frames, height, width = model.vision_model.patch_size
    grid = (-(-case.frames // frames), case.side // height, case.side // width)
    latents = torch.randn(case.batch, *grid, model.config.latent_channels, device=device).to(dtype)
    tokens = case.batch * grid[0] * grid[1] * grid[2]
    directions = {
        "encode": (lambda: model.encode(video, pool=False), bare_encoder(model, video)),
        "decode": (lambda: model.decode(latents), bare_decoder(model, latents)),
    }
    result: dict = {**vars(case), "tokens": tokens}
    for name, (ours, bare) in directions.items():
        times = interleaved({"atoken": ours, "bare": bare}, repeats, device)
        result[name] = {
            "seconds": median(times["atoken"]),
            "bare_seconds": median(times["bare"]),
            "ratio_to_bare": ratios(times["atoken"], times["bare"]),
            "tokens_per_second": tokens / median(times["atoken"]),
            "peak_memory_bytes": peak_memory(ours, device),
            "all_seconds": times,
        }
    if wan is not None:
        try:
            result["wan"] = _against_wan(video, latents, {k: v[0] for k, v in directions.items()}, wan, wan_repeats)
        except torch.OutOfMemoryError:
            result["wan"] = None
            torch.cuda.empty_cache()
    return result


def _against_wan(video: torch.Tensor, latents: torch.Tensor, atoken: dict, wan, repeats: int) -> dict:
    # Channels come before time in both tensors. It needs no warm-up beyond the memory measurement.
    clip, code = video.transpose(1, 2).contiguous(), latents.permute(0, 4, 1, 2, 3).contiguous()
    theirs = {"encode": lambda: wan.encode(clip).latent_dist.mode(), "decode": lambda: wan.decode(code).sample}
    peaks = {name: peak_memory(function, video.device) for name, function in theirs.items()}
    functions = {f"atoken {name}": function for name, function in atoken.items()}
    functions |= {f"wan {name}": function for name, function in theirs.items()}
    times = interleaved(functions, repeats, video.device, warmup=0)
    both = {
        who: [sum(pair) for pair in zip(times[f"{who} encode"], times[f"{who} decode"], strict=True)]
        for who in ("atoken", "wan")
    }
    return {
        "encode_seconds": median(times["wan encode"]),
        "decode_seconds": median(times["wan decode"]),
        "peak_memory_bytes": peaks,
        "times_slower": {
            "encode": ratios(times["wan encode"], times["atoken encode"])["median"],
            "decode": ratios(times["wan decode"], times["atoken decode"])["median"],
            "both": ratios(both["wan"], both["atoken"])["median"],
        },
        "all_seconds": times,
    }


def table(results: list[dict], title: str) -> Table:
    """One row per case and direction."""
    shown = Table(title=title)
    columns = ["case", "tokens", "", "seconds", "tokens/s", "bare s", "x bare", "peak MiB"]
    if any("wan" in result for result in results):
        columns += ["Wan s", "Wan / ours", "Wan peak MiB"]
    for column in columns:
        shown.add_column(column, justify="left" if column in ("case", "") else "right", no_wrap=True)
    for result in results:
        wan = result.get("wan")
        for direction in ("encode", "decode"):
            row = result[direction]
            cells = [
                result["name"] if direction == "encode" else "",
                f"{result['tokens']:,}" if direction == "encode" else "",
                direction,
                f"{row['seconds']:.3f}",
                f"{row['tokens_per_second']:,.0f}",
                f"{row['bare_seconds']:.3f}",
                f"{row['ratio_to_bare']['median']:.3f}",
                mebibytes(row["peak_memory_bytes"]),
            ]
            if wan:
                cells += [
                    f"{wan[f'{direction}_seconds']:.2f}",
                    f"{wan['times_slower'][direction]:.1f}",
                    mebibytes(wan["peak_memory_bytes"][direction]),
                ]
            elif "wan" in result and direction == "encode":
                cells += ["out of memory"]
            shown.add_row(*cells)
        if wan:
            shown.add_row("", "", "both", *[""] * 6, f"{wan['times_slower']['both']:.1f}")
        shown.add_section()
    return shown


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=["so400m", "base", "tiny"], default="so400m")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--blocks", type=int, help="blocks of the encoder and of the decoder; default: the preset's")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES), metavar="CASE")
    parser.add_argument(
        "--wan-cases", nargs="*", choices=list(CASES), metavar="CASE", help="where AutoencoderKLWan runs as well"
    )
    parser.add_argument(
        "--dtype", choices=["float32", "bfloat16", "float16"], help="default: float32, on CUDA bfloat16"
    )
    parser.add_argument("--repeats", type=int, default=5, help="rounds against the bare products")
    parser.add_argument(
        "--wan-repeats", type=int, help="rounds against AutoencoderKLWan; default: 1, on CUDA --repeats"
    )
    parser.add_argument("--threads", type=int, help="CPU threads; default: PyTorch's choice")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    for name in ("blocks", "repeats", "wan_repeats", "threads"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1, got {value}")
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda needs a GPU, but PyTorch sees none")
    if arguments.wan_cases is None:
        arguments.wan_cases = [case for case in WAN_CASES[arguments.device] if case in arguments.cases]
    if arguments.wan_repeats is None:
        arguments.wan_repeats = 1 if arguments.device == "cpu" else arguments.repeats
    arguments.dtype = arguments.dtype or DTYPES[arguments.device]
    return arguments


@torch.inference_mode()
def main() -> None:
    arguments = parse_arguments()
    logging.set_verbosity_error()
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    device, dtype = torch.device(arguments.device), getattr(torch, arguments.dtype)
    console = Console()
    # A file or a pipe has no width to respect.
    console.width = console.width if console.is_terminal else 120
    model = build_model(arguments.size, arguments.blocks, device, dtype)
    wan = None
    if arguments.wan_cases:
        from wan import build_wan, wan_frames

        wan = build_wan(device, dtype)
    facts = machine(device)
    console.print(f"{facts.get('gpu', facts['processor'])}, {facts['threads']} threads, torch {facts['torch']}")
    results = []
    for name in arguments.cases:
        compared = wan if name in arguments.wan_cases else None
        with console.status(name):
            result = run_case(CASES[name], model, compared, arguments.repeats, arguments.wan_repeats)
        if result.get("wan"):
            result["wan"]["frames_coded"] = wan_frames(CASES[name].frames)
        results.append({"name": name, **result})
    blocks = len(model.decoder.blocks)
    console.print(table(results, f"AToken {arguments.size}, {blocks} + {blocks} blocks, {arguments.dtype}, {device}"))
    if arguments.json:
        protocol = {
            "size": arguments.size,
            "blocks": blocks,
            "dtype": arguments.dtype,
            "attention": model.vision_model.config._attn_implementation,
            "repeats": arguments.repeats,
            "wan_repeats": arguments.wan_repeats,
            "seconds": "median of rounds in which the compared take turns; inputs and weights are random and in memory",
            "peak_memory_bytes": "one call, beyond weights and inputs",
        }
        write_json(arguments.json, "speed.py", device, protocol, results)


if __name__ == "__main__":
    main()
