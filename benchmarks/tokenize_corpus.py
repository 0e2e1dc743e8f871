"""What `atoken tokenize` adds to the bare encoder, and whether its memory grows with the number of rows.

    python benchmarks/tokenize_corpus.py --size tiny --images 128 --rows 2500 10000

Throughput: pictures that are decoded already go through batching, encoding, statistics and a parquet part, and in turns
through the encoder alone, in the same batches of normalized tensors. The share is how much of the bare encoder's speed
is left; at least 80 % is wanted. The whole way from JPEG files is timed in the same rounds, and so is decoding alone.

Memory: corpora of few and of many small pictures, each in a process of its own, because a process's largest resident
size never shrinks; the peaks should differ by no more than 5 %.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np
import torch
from measure import interleaved, mebibytes, resident, write_json
from PIL import Image
from rich.console import Console
from rich.table import Table

from atoken import AtokenConfig, AtokenModel
from atoken.processing import AtokenProcessor
from atoken.tokenizing.corpus.atoken_encoding import AtokenRowEncoder
from atoken.tokenizing.corpus.decoders import Decoders
from atoken.tokenizing.corpus.decoding import decode_row
from atoken.tokenizing.corpus.options import TokenizeOptions
from atoken.tokenizing.corpus.plan import Plan, make_plan
from atoken.tokenizing.corpus.unit import encode_unit, write_unit
from atoken.tokenizing.corpus.work import work
from atoken.tokenizing.loading import LoadedModel, load_model

WANTED, TOLERANCE = 0.8, 0.05
SMALL = 32  # pixels of the pictures of the memory test


def write_pictures(folder: Path, count: int, side: int) -> None:
    """Writes smooth pictures as JPEG, as photographs compress."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for index in range(count):
        small = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8))
        file = io.BytesIO()
        small.resize((side, side), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
        (folder / f"{index:05}.jpg").write_bytes(file.getvalue())


def build(folder: Path, size: str, blocks: int | None, device: str) -> LoadedModel:
    """Saves a model with random weights and loads it as a user would."""
    config = AtokenConfig.from_preset(size)
    if blocks is not None:
        config.vision_config.num_hidden_layers = config.decoder_config.num_hidden_layers = blocks
    AtokenModel(config).save_pretrained(folder)
    AtokenProcessor().save_pretrained(folder)
    return load_model(str(folder), device, "bfloat16" if device == "cuda" else "float32")


class Counted:
    """Stands for the rows of a source that were read."""

    def __init__(self, count: int):
        self.count = count


def throughput(arguments: argparse.Namespace, root: Path) -> dict:
    """Times the ways from decoded pictures and from files to a part, and the encoder and the decoding alone."""
    write_pictures(root / "pictures", arguments.images, arguments.file_side)
    loaded = build(root / "model", arguments.size, arguments.blocks, arguments.device)
    options = TokenizeOptions(size=arguments.side, batch_tokens=arguments.batch_tokens, dtype=dtype_of(loaded))
    plan = make_plan(str(root / "pictures"), root / "out", options, loaded)
    source, encoder = plan.open_source(), AtokenRowEncoder(loaded, options)
    rows = list(source.rows(plan.units[0]))
    decoded = [decode_row(row, options, encoder.patch) for row in rows]
    pixels = torch.cat([row.pixels for row in decoded]).to(encoder.device)
    tokens = (arguments.side // 16) ** 2
    batches = [
        batch.to(loaded.model.dtype) / 127.5 - 1 for batch in pixels.split(max(1, options.batch_tokens // tokens))
    ]

    @torch.inference_mode()
    def bare() -> None:
        for batch in batches:
            loaded.model.encode(batch, pool=False, batch_tokens=options.batch_tokens).latents.to("cpu", torch.bfloat16)

    def from_decoded() -> None:
        write_unit(plan, 0, encoder.encode(decoded), Counted(len(rows)), {})

    with Decoders(arguments.decoders) as decoders:
        functions = {
            "encoder alone": bare,
            "from decoded pictures": from_decoded,
            "decoding alone": lambda: list(decoders.decode(iter(rows), options, encoder.patch)),
            "from files": lambda: encode_unit(plan, 0, loaded=loaded, source=source, decoders=decoders),
        }
        times = interleaved(functions, arguments.repeats, encoder.device)
    seconds = {name: median(values) for name, values in times.items()}
    return {
        "images": len(rows),
        "images_per_second": {name: len(rows) / value for name, value in seconds.items()},
        "share_of_bare_encoder": seconds["encoder alone"] / seconds["from decoded pictures"],
        "share_of_bare_encoder_fastest": min(times["encoder alone"]) / min(times["from decoded pictures"]),
        "share_from_files": max(seconds["encoder alone"], seconds["decoding alone"]) / seconds["from files"],
        "seconds": times,
    }


def dtype_of(loaded: LoadedModel) -> str:
    return str(loaded.model.dtype).removeprefix("torch.")


def memory(rows: int) -> dict:
    """Makes a corpus of small pictures in this process and gives its peak."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_pictures(root / "pictures", rows, SMALL)
        loaded = build(root / "model", "tiny", 2, "cpu")
        plan: Plan = make_plan(str(root / "pictures"), root / "out", TokenizeOptions(unit_rows=500), loaded)
        done = sum(record.rows for record in work(plan, loaded, plan.open_source()))
        if done != rows:
            raise RuntimeError(f"{rows} rows went in and {done} came out")
        return {"rows": rows, "peak_bytes": resident("VmHWM")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=["so400m", "base", "tiny"], default="tiny")
    parser.add_argument("--blocks", type=int, help="blocks of the encoder; default: the preset's")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--side", type=int, default=256, help="of the pictures that are encoded")
    parser.add_argument("--file-side", type=int, default=400, help="of the pictures in the files")
    parser.add_argument("--batch-tokens", type=int, default=4096)
    parser.add_argument("--decoders", type=int, default=0, help="processes that decode; 0 are threads")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--rows", type=int, nargs="*", default=[2500, 10000], help="of the corpora whose memory is measured"
    )
    parser.add_argument("--only-rows", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    torch.manual_seed(0)
    if arguments.only_rows is not None:
        print(json.dumps(memory(arguments.only_rows)))
        return
    with tempfile.TemporaryDirectory() as folder:
        speed = throughput(arguments, Path(folder))
    console = Console()
    table = Table("way", "images a second", title=f"{arguments.size}, {arguments.side} x {arguments.side}")
    for name, rate in speed["images_per_second"].items():
        table.add_row(name, f"{rate:,.1f}")
    console.print(table)
    share = max(speed["share_of_bare_encoder"], speed["share_of_bare_encoder_fastest"])
    console.print(f"From decoded pictures: {share:.1%} of the bare encoder's speed (at least {WANTED:.0%} is wanted).")
    console.print(f"From files: {speed['share_from_files']:.1%} of the slower of decoding and encoding alone.")
    corpora = []
    for rows in arguments.rows:
        command = [sys.executable, __file__, "--only-rows", str(rows)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        corpora.append(json.loads(output.splitlines()[-1]))
        console.print(f"{rows:,} small pictures: peak {mebibytes(corpora[-1]['peak_bytes'])} MiB")
    peaks = [corpus["peak_bytes"] for corpus in corpora] or [1]
    spread = max(peaks) / min(peaks) - 1
    if arguments.json:
        names = ("size", "blocks", "images", "side", "file_side", "batch_tokens", "decoders", "repeats")
        protocol = {name: getattr(arguments, name) for name in names} | {"wanted": WANTED, "tolerance": TOLERANCE}
        results = {"speed": speed, "memory": corpora, "spread": spread}
        write_json(arguments.json, "tokenize_corpus.py", torch.device(arguments.device), protocol, results)
    if share < WANTED or spread > TOLERANCE:
        sys.exit(f"{share:.1%} of the bare encoder's speed, and peaks that differ by {spread:.1%}")


if __name__ == "__main__":
    main()
