"""The share of token bookkeeping in a forward pass: packing, temporal tiles, their order, positions.

    python benchmarks/bookkeeping.py --size so400m --device cpu --blocks 2

Bookkeeping is what `AtokenTransformer.run` does once per forward besides projecting and running blocks. It is timed by
itself; the forward is timed with a few blocks, and the time of the missing ones is added.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from measure import interleaved, machine, write_json
from rich.console import Console
from rich.table import Table
from speed import DTYPES, build_model
from transformers.utils import logging

from atoken import AtokenConfig, AtokenModel
from atoken.layers_atoken import rotary_table
from atoken.token_layouts_atoken import grid_coords
from atoken.tokens_atoken import TokenBatch
from atoken.transformer_atoken import TILE_BATCH_TOKENS, AtokenTransformer

# Three ways to 16,384 tokens: (samples, (latent frames, rows, columns)) of each kind.
BATCHES = {
    "one video, 64 x 512 x 512": [(1, (16, 32, 32))],
    "64 images, 256 x 256": [(64, (1, 16, 16))],
    "images and clips of mixed sizes": [
        (1, (4, 32, 32)),
        (8, (1, 16, 16)),
        (2, (9, 16, 16)),
        (4, (1, 32, 32)),
        (1, (4, 16, 9)),
        (1, (1, 24, 40)),
    ],
}


def packed_batch(kinds: list, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Coordinates (N, 4) and cumulative lengths (B + 1,) of full grids."""
    grids = [grid for count, grid in kinds for _ in range(count)]
    coords = [grid_coords(grid, device) for grid in grids]
    lengths = torch.tensor([len(each) for each in coords])
    cumulative = torch.nn.functional.pad(lengths.cumsum(0), (1, 0)).to(torch.int32)
    return torch.cat(coords), cumulative.to(device)


def bookkeeping(
    transformer: AtokenTransformer, features: torch.Tensor, coords: torch.Tensor, cu_seqlens: torch.Tensor
) -> Callable[[], None]:
    """What one forward pass computes about its tokens, from the checks to the order in which the result is returned."""
    config = transformer.config
    tile, head_dim = config.tile_frames // transformer.patch_size[0], config.hidden_size // config.num_attention_heads

    def run() -> None:
        batch = TokenBatch.from_packed(features, coords, cu_seqlens)
        layout = batch.layout(tile)
        layout.gather(batch.features)
        for start, end, sequences in layout.sequences.split(TILE_BATCH_TOKENS):
            piece = layout.piece(start, end, sequences)
            rotary_table(piece.coords, head_dim, config.rope_theta)
            transformer.position_embedding(piece)
        if layout.order is not None:
            torch.argsort(layout.order)

    return run


def one_block(
    transformer: AtokenTransformer, coords: torch.Tensor, cu_seqlens: torch.Tensor
) -> Callable[[], torch.Tensor]:
    """The transformer's first block, on hidden states made beforehand."""
    config = transformer.config
    weight = transformer.input_layer.weight
    hidden = torch.randn(len(coords), config.hidden_size, dtype=weight.dtype, device=weight.device)
    batch = TokenBatch.from_packed(hidden, coords, cu_seqlens)
    layout = batch.layout(config.tile_frames // transformer.patch_size[0])
    rotary = rotary_table(layout.coords, config.hidden_size // config.num_attention_heads, config.rope_theta)
    return lambda: transformer.blocks[0](hidden, rotary, rotary, layout.sequences)


def run_batch(model: AtokenModel, kinds: list, blocks: dict[str, int], repeats: int) -> dict:
    """
    Times one batch in both directions.

    Args:
        model: with a few blocks.
        kinds: what the batch holds, an entry of BATCHES.
        blocks: of the full encoder and decoder, by direction.
        repeats: rounds.
    """
    device, dtype = model.device, model.dtype
    coords, cu_seqlens = packed_batch(kinds, device)
    pixels = torch.randn(len(coords), model.vision_model.config.patch_dim, device=device).to(dtype)
    latents = torch.randn(len(coords), model.config.latent_channels, device=device).to(dtype)
    result: dict = {"tokens": len(coords), "samples": len(cu_seqlens) - 1}
    for name, transformer, features, forward in (
        ("encode", model.vision_model, pixels, lambda: model.encode(pixels, coords, cu_seqlens, pool=False)),
        ("decode", model.decoder, latents, lambda: model.decode(latents, coords, cu_seqlens)),
    ):
        functions = {
            "bookkeeping": bookkeeping(transformer, features, coords, cu_seqlens),
            "block": one_block(transformer, coords, cu_seqlens),
            "forward": forward,
        }
        times = interleaved(functions, repeats, device)
        block, measured = median(times["block"]), median(times["forward"])
        full = measured + block * (blocks[name] - len(transformer.blocks))
        result[name] = {
            "bookkeeping_seconds": median(times["bookkeeping"]),
            "forward_seconds": full,
            "share": median(times["bookkeeping"]) / full,
            "measured_blocks": len(transformer.blocks),
            "block_seconds": block,
        }
    return result


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=["so400m", "base", "tiny"], default="so400m")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--blocks", type=int, default=2, help="blocks that the timed forward has")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    torch.manual_seed(0)
    device = torch.device(arguments.device)
    config = AtokenConfig.from_preset(arguments.size)
    full = {"encode": config.vision_config.num_hidden_layers, "decode": config.decoder_config.num_hidden_layers}
    model = build_model(arguments.size, arguments.blocks, device, getattr(torch, DTYPES[device.type]))
    facts = machine(device)
    console = Console()
    console.print(f"{facts.get('gpu', facts['processor'])}, {facts['threads']} threads, torch {facts['torch']}")
    results, shown = [], Table(title=f"Token bookkeeping, {arguments.size}, {device}")
    for column in ("batch", "tokens", "", "bookkeeping ms", "forward s", "share"):
        shown.add_column(column, justify="left" if column in ("batch", "") else "right")
    for name, kinds in BATCHES.items():
        with console.status(name):
            result = run_batch(model, kinds, full, arguments.repeats)
        results.append({"name": name, **result})
        for direction in ("encode", "decode"):
            row = result[direction]
            shown.add_row(
                name if direction == "encode" else "",
                f"{result['tokens']:,}" if direction == "encode" else "",
                direction,
                f"{row['bookkeeping_seconds'] * 1e3:.1f}",
                f"{row['forward_seconds']:.2f}",
                f"{row['share']:.2%}",
            )
    console.print(shown)
    if arguments.json:
        protocol = {
            "size": arguments.size,
            "dtype": DTYPES[device.type],
            "repeats": arguments.repeats,
            "forward_seconds": "measured with measured_blocks, plus block_seconds for each of the missing blocks",
        }
        write_json(arguments.json, "bookkeeping.py", device, protocol, results)


if __name__ == "__main__":
    main()
