"""Everything that only a GPU can show, in order of worth, each part bounded in time and written at once.

    python benchmarks/gpu.py --minutes 9 --json benchmarks/results/cuda-gpu.json
    python benchmarks/gpu.py --device cpu --tiny --minutes 2 --json gpu.json     # every part in small sizes

Nothing of the checkout has to be installed. It needs torch 2.11 and transformers 5.23 or newer, for training also av,
lpips and torchmetrics, for Wan diffusers, and ends at once where one of them is missing or too old. What else a part
lacks is said in its rows. See README.md for what the parts measure, and for wheels to bring along.
"""

import argparse
import importlib
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from on_gpu.checkout import ROOT, make_importable
from on_gpu.packages import check_packages
from on_gpu.parts import Row, Setup, run_part

# Part, file and function, and its share of the time; what a part leaves over goes to those after it, also of `LEAST`.
PARTS = (
    ("peaks", "arithmetic", "measure_peaks", 1.0),
    ("goldens", "goldens", "measure_goldens", 1.0),
    ("coding", "coding", "measure_coding", 4.0),
    ("training", "training_steps", "measure_training", 4.0),
    ("tokenizing", "tokenizing", "measure_tokenizing", 2.0),
    ("compiled", "coding", "measure_compiled", 3.0),
    ("attention", "coding", "measure_attention", 3.0),
    ("wan", "against_wan", "measure_wan", 3.0),
    ("splats", "splats", "measure_splats", 3.0),
)
LEAST = 60.0  # seconds of a part: a process that begins spends up to half of it on imports and on the device
PROTOCOL = {
    "seconds": "median of synchronized calls after two that are not counted; weights and inputs are random",
    "mfu": "operations of the blocks (2 for each weight and token, 4 d for each pair of tokens and layer; three times "
    "as many in training, in the stage's own tiles) a second, over the fastest product that this very run has measured",
    "training": "one rank's share of a step, with its uploads, that costs about what planned steps do in the mean; "
    "means are by the shares of the kinds of steps",
    "peak_memory_bytes": "of coding: beyond weights and inputs; of training: all that is allocated",
    "distance": "norm of the difference in that of the expected",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=9.0, help="for all parts together")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--tiny", action="store_true", help="sizes of a test")
    parser.add_argument("--parts", nargs="+", choices=[part[0] for part in PARTS], metavar="PART", help="only some")
    parser.add_argument("--golden", type=Path, default=ROOT / "tests" / "golden", help="numbers of the authors' code")
    parser.add_argument("--json", type=Path, required=True, metavar="FILE")
    arguments = parser.parse_args()
    if not arguments.minutes > 0:
        parser.error(f"--minutes must be above 0, got {arguments.minutes}")
    end = time.monotonic() + 60 * arguments.minutes
    make_importable()
    chosen = [part for part in PARTS if arguments.parts is None or part[0] in arguments.parts]
    try:
        check_packages(part[0] for part in chosen)
    except ImportError as error:
        sys.exit(str(error))
    record: Row = {"script": "gpu.py", "arguments": sys.argv[1:], "protocol": PROTOCOL, "parts": {}}
    setup = Setup(torch.device(arguments.device), arguments.tiny, arguments.golden)
    for place, (name, file, function, share) in enumerate(chosen):
        seconds = allowance(end - time.monotonic(), share / sum(part[3] for part in chosen[place:]))
        rows: list[Row] = []
        entry = record["parts"][name] = {"state": "running", "rows": rows}

        def keep(row: Row, name=name, rows=rows) -> None:
            if "machine" in row:
                record["machine"] = row["machine"]
            else:
                rows.append(row)
            write(record, arguments.json)
            print(f"{name}: {json.dumps(row)}", flush=True)

        try:
            part = getattr(importlib.import_module(f"on_gpu.{file}"), function)
        except Exception as error:  # whatever it is, the other parts must still be measured
            entry |= {"state": "failed", "error": f"{type(error).__name__}: {error}"}
        else:
            entry |= run_part(part, setup, seconds, keep)
        if name == "peaks":
            setup = with_peaks(setup, rows)
        write(record, arguments.json)
        print(f"{name}: {entry['state']}, {entry.get('seconds', 0)} s {entry.get('error', '')}", flush=True)


def allowance(left: float, share: float) -> float:
    """Gives the seconds that a part may take: its share of those that are left, but at least `LEAST` if there are."""
    return min(left, max(LEAST, left * share))


def with_peaks(setup: Setup, rows: list[Row]) -> Setup:
    """Adds what the first part has measured: the fastest product, and the bandwidth of memory."""
    products = [row["flops"] for row in rows if "flops" in row]
    bandwidth = [row["bandwidth"] for row in rows if "bandwidth" in row]
    return replace(setup, peak=max(products, default=None), bandwidth=max(bandwidth, default=None))


def write(record: Row, path: Path) -> None:
    """Replaces the file in one move, so that a run that is ended at any time leaves what it has measured."""
    path.parent.mkdir(parents=True, exist_ok=True)
    waiting = path.with_name(f".{path.name}.tmp")
    waiting.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    waiting.replace(path)


if __name__ == "__main__":
    main()
