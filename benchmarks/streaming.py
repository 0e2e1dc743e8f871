"""Peak memory of streaming a short and a long video through encoder and decoder: it must not grow with the length.

    python benchmarks/streaming.py --size tiny --frames 64 640

Frames are drawn one at a time, encoded with a temporal cache, decoded, and dropped. Every length runs in a process of
its own, because a process's largest resident size never shrinks.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from measure import mebibytes, resident, write_json
from rich.console import Console
from rich.table import Table
from speed import DTYPES, build_model
from transformers.utils import logging

TOLERANCE = 0.05


def draw_frames(count: int, side: int, device: torch.device) -> Iterator[torch.Tensor]:
    """Random frames (3, side, side) in [-1, 1], one at a time."""
    for _ in range(count):
        yield torch.rand(3, side, side, device=device) * 2 - 1


@torch.inference_mode()
def stream(arguments: argparse.Namespace, num_frames: int) -> dict:
    """Streams one video and returns what it took, in this process."""
    device = torch.device(arguments.device)
    model = build_model(arguments.size, arguments.blocks, device, getattr(torch, DTYPES[device.type]))
    held = torch.cuda.memory_allocated(device) if device.type == "cuda" else resident("VmRSS")
    frames = draw_frames(num_frames, arguments.side, device)
    latents = model.encode_stream(frames, cache_frames=arguments.cache_frames)
    start, returned = time.perf_counter(), 0
    for video in model.decode_stream(latents, cache_frames=arguments.cache_frames, num_frames=num_frames):
        returned += video.shape[0]
    elapsed = time.perf_counter() - start
    if returned != num_frames:
        raise RuntimeError(f"{num_frames} frames went in and {returned} came out")
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else resident("VmHWM")
    return {"frames": num_frames, "peak_bytes": peak, "above_start_bytes": peak - held, "seconds": elapsed}


def stream_in_child(num_frames: int) -> dict:
    """Runs `stream` in a fresh process with this one's arguments."""
    command = [sys.executable, __file__, *sys.argv[1:], "--only", str(num_frames)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(output.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=["so400m", "base", "tiny"], default="tiny")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--blocks", type=int, help="blocks of the encoder and of the decoder; default: the preset's")
    parser.add_argument("--frames", type=int, nargs="+", default=[64, 640])
    parser.add_argument("--side", type=int, default=128, help="height and width of the frames")
    parser.add_argument("--cache-frames", type=int, default=8, help="past frames that every tile attends to")
    parser.add_argument("--only", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    torch.manual_seed(0)
    if arguments.only is not None:
        print(json.dumps(stream(arguments, arguments.only)))
        return
    results = [stream_in_child(num_frames) for num_frames in arguments.frames]
    shown = Table(title=f"Streaming, {arguments.size}, {arguments.side} x {arguments.side}, {arguments.device}")
    for column in ("frames", "peak MiB", "above start MiB", "seconds"):
        shown.add_column(column, justify="right")
    for row in results:
        sizes = mebibytes(row["peak_bytes"]), mebibytes(row["above_start_bytes"])
        shown.add_row(str(row["frames"]), *sizes, f"{row['seconds']:.1f}")
    console = Console()
    console.print(shown)
    peaks = [row["peak_bytes"] for row in results]
    spread = max(peaks) / min(peaks) - 1
    console.print(f"The peaks differ by {spread:.1%} (at most {TOLERANCE:.0%} is wanted).")
    if arguments.json:
        protocol = {name: getattr(arguments, name) for name in ("size", "blocks", "side", "cache_frames")} | {
            "peak_bytes": "of the whole process; on a GPU of PyTorch's allocations"
        }
        device = torch.device(arguments.device)
        write_json(arguments.json, "streaming.py", device, protocol, {"lengths": results, "spread": spread})
    if spread > TOLERANCE:
        sys.exit(1)


if __name__ == "__main__":
    main()
