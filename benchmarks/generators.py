"""Speed of the generators: Lightning-DiT against its bare products, and TokenBridge's head with its cache and without.

python benchmarks/generators.py
python benchmarks/generators.py --blocks 2 --repeats 5 --json benchmarks/results/cpu-generators.json
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from bare_products import linear
from measure import interleaved, ratios, write_json
from rich.console import Console
from rich.table import Table
from torch.nn import functional as F

from atoken.generation import LightningDiTTransformer2DModel, TokenBridgeModel


def bare_lightning_dit(model: LightningDiTTransformer2DModel, batch: int) -> Callable[[], None]:
    """The products and the attention of a forward pass of that many images, and nothing else."""
    weight, config = model.proj_out.weight, model.config
    width, heads, positions = weight.shape[1], config.num_attention_heads, model.grid**2

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, dtype=weight.dtype, device=weight.device)

    latents = draw(batch, config.in_channels, config.sample_size, config.sample_size)
    hidden, condition, time = draw(batch * positions, width), draw(batch, width), draw(batch, 256)
    inner = draw(batch * positions, model.transformer_blocks[0].mlp.proj_out.in_features)
    attention = [draw(batch, heads, positions, width // heads) for _ in range(3)]

    def run() -> None:
        F.conv2d(latents, model.patch_embed.weight, model.patch_embed.bias, stride=config.patch_size)
        linear(model.time_embed.linear_1, time)
        linear(model.time_embed.linear_2, condition)
        for block in model.transformer_blocks:
            linear(block.modulation.linear, condition)
            linear(block.attn.to_qkv, hidden)
            F.scaled_dot_product_attention(*attention)
            linear(block.attn.to_out, hidden)
            linear(block.mlp.proj_in, hidden)
            linear(block.mlp.proj_out, inner)
        linear(model.modulation_out.linear, condition)
        linear(model.proj_out, hidden)

    return run


@torch.no_grad()
def run_lightning_dit(blocks: int, batch: int, repeats: int, device: torch.device, dtype: torch.dtype) -> dict:
    """Times a forward pass at B/1's width beside its bare products."""
    model = LightningDiTTransformer2DModel.from_preset("B/1", num_layers=blocks).to(device, dtype).eval()
    latents = torch.randn(batch, 48, 16, 16, device=device, dtype=dtype)
    time, labels = torch.rand(batch, device=device), torch.randint(1000, (batch,), device=device)
    functions = {"model": lambda: model(latents, time, labels), "bare": bare_lightning_dit(model, batch)}
    times = interleaved(functions, repeats, device, warmup=2)
    return {
        "case": f"Lightning-DiT B/1, {blocks} blocks, {batch} images",
        "seconds": times,
        "x bare": ratios(times["model"], times["bare"]),
    }


@torch.no_grad()
def run_head(positions: int, repeats: int, device: torch.device, dtype: torch.dtype) -> dict:
    """Times the head of TokenBridge-L for that many positions of 8 codes, with and without its cache."""
    small = {"encoder_num_layers": 1, "decoder_num_layers": 1}
    head = TokenBridgeModel.from_preset("L", **small).to(device, dtype).eval().head
    features = torch.randn(positions, 1024, device=device, dtype=dtype)

    def draw(use_cache: bool) -> Callable[[], torch.Tensor]:
        return lambda: head.draw(features, lambda logits, index: logits.argmax(-1), use_cache=use_cache)

    times = interleaved({"cache": draw(True), "no cache": draw(False)}, repeats, device)
    return {
        "case": f"TokenBridge-L head, {positions} positions",
        "seconds": times,
        "no cache / cache": ratios(times["no cache"], times["cache"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default=None, help="default: float32 on a CPU, bfloat16 on a GPU")
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--positions", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    dtype = getattr(torch, arguments.dtype or ("float32" if device.type == "cpu" else "bfloat16"))
    results = [
        run_lightning_dit(arguments.blocks, batch, arguments.repeats, device, dtype) for batch in arguments.batch
    ]
    results.append(run_head(arguments.positions, arguments.repeats, device, dtype))
    table = Table("case", "part", "median ms", "ratio")
    for result in results:
        for name, times in result["seconds"].items():
            ratio = next(f"{key} {value['median']:.3f}" for key, value in result.items() if "median" in value)
            table.add_row(result["case"], name, f"{1000 * median(times):.1f}", ratio)
    Console().print(table)
    if arguments.json:
        protocol = {"blocks": arguments.blocks, "repeats": arguments.repeats, "dtype": str(dtype)}
        write_json(arguments.json, "benchmarks/generators.py", device, protocol, results)


if __name__ == "__main__":
    main()
