"""The multimodal language model on a long video: encoding beside the bare encoder, and the memory of a training step.

python benchmarks/mllm.py
python benchmarks/mllm.py --size so400m --blocks 2 --json benchmarks/results/cpu-mllm.json
"""

import argparse
from pathlib import Path
from statistics import median

import torch
from measure import interleaved, mebibytes, peak_memory, ratios, write_json
from rich.console import Console
from rich.table import Table
from speed import DTYPES, build_model
from transformers import Qwen2Config
from transformers.utils import logging

from atoken.mllm import AtokenLlavaConfig, AtokenLlavaForConditionalGeneration

IMAGE, VIDEO = 3, 4
MOST = 1.15  # how many times as long as the bare encoder encoding may take


def build(size: str, blocks: int | None, device: torch.device) -> AtokenLlavaForConditionalGeneration:
    """The encoder of a preset with a small language model, all with random weights; the encoder is frozen."""
    tower = build_model(size, blocks, device, torch.float32).vision_model
    text = Qwen2Config(
        vocab_size=1000,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=16384,
        bos_token_id=0,
        eos_token_id=1,
    )
    config = AtokenLlavaConfig(vision_config=tower.config, text_config=text, image_token_id=IMAGE, video_token_id=VIDEO)
    with torch.device(device):
        model = AtokenLlavaForConditionalGeneration(config)
    model.model.vision_tower = tower.requires_grad_(False)
    return model.to(getattr(torch, DTYPES[device.type]))


@torch.no_grad()
def encoding(model: AtokenLlavaForConditionalGeneration, frames: int, side: int, repeats: int) -> dict:
    """Times features of a video, its tokens, and the bare encoder on the same frames, as many at a time."""
    tower, device = model.model.vision_tower, model.device
    images = torch.rand(frames, 3, side, side, device=device, dtype=model.dtype) * 2 - 1
    grid, patches = packed(images)
    at_a_time = max(1, model.config.vision_batch_tokens // (side // 16) ** 2)

    def bare():
        return [tower(part, pool=False).last_hidden_state for part in images.split(at_a_time)]

    functions = {
        "bare encoder": bare,
        "features": lambda: model.model.encode_features(None, None, patches, grid),
        "tokens": lambda: model.get_video_features(patches, grid),
    }
    times = interleaved(functions, repeats, device)
    compared = {name: ratios(times[name], times["bare encoder"]) for name in ("features", "tokens")}
    return {"seconds": times, "ratios": compared}


def packed(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Gives grid (1, 3) and patches (N, 768) of frames (T, 3, H, W), as the processor does."""
    frames, _, height, width = images.shape
    rows, columns = height // 16, width // 16
    cut = images.reshape(frames, 3, rows, 16, columns, 16).permute(0, 2, 4, 3, 5, 1)
    return torch.tensor([[frames, rows, columns]]), cut.reshape(-1, 768)


def training(model: AtokenLlavaForConditionalGeneration, frames: int, side: int) -> dict:
    """Measures the peak of one step, forward and backward, with pixels and with features that were pooled before."""
    grid, patches = packed(torch.rand(frames, 3, side, side, device=model.device, dtype=model.dtype) * 2 - 1)
    with torch.no_grad():
        features = model.model.encode_features(None, None, patches, grid)[1][0]
        pooled = model.model.multi_modal_projector.pool_video(features)
    del features
    count = model.config.token_counts.video(frames, side // 16, side // 16)
    ids = torch.cat([torch.full((count,), VIDEO), torch.arange(10, 42)])[None].to(model.device)
    labels = ids.masked_fill(ids == VIDEO, -100)
    given = {
        "pixels": {"pixel_values_videos": patches, "video_grid_thw": grid},
        "stored features": {"pooled_videos": [pooled]},
    }
    model.train()
    peaks = {}
    for name in ("stored features", "pixels", "stored features"):  # the first also makes the gradients' room

        def step(inputs=given[name]):
            model(input_ids=ids, labels=labels, use_cache=False, **inputs).loss.backward()

        peaks[name] = peak_memory(step, model.device)
    return {"prompt_tokens": ids.shape[1], "peak_bytes": peaks}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=["so400m", "base", "tiny"], default="tiny")
    parser.add_argument("--blocks", type=int, help="blocks of the encoder; default: the preset's")
    parser.add_argument("--frames", type=int, default=128)
    parser.add_argument("--side", type=int, default=288, help="height and width of the frames")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    torch.manual_seed(0)
    device = torch.device(arguments.device)
    model = build(arguments.size, arguments.blocks, device).eval()
    encoded = encoding(model, arguments.frames, arguments.side, arguments.repeats)
    trained = training(model, arguments.frames, arguments.side)
    console = Console()
    table = Table(title=f"{arguments.frames} frames of {arguments.side} x {arguments.side}, {arguments.size}, {device}")
    for column in ("encoding", "seconds", "x bare"):
        table.add_column(column, justify="left" if column == "encoding" else "right")
    for name, seconds in encoded["seconds"].items():
        ratio = encoded["ratios"].get(name, {"median": 1.0})["median"]
        table.add_row(name, f"{median(seconds):.2f}", f"{ratio:.2f}")
    console.print(table)
    table = Table(title=f"One training step, {trained['prompt_tokens']:,} tokens")
    for column in ("from", "peak MiB"):
        table.add_column(column, justify="left" if column == "from" else "right")
    for name, size in trained["peak_bytes"].items():
        table.add_row(name, mebibytes(size))
    console.print(table)
    console.print(f"Tokens should take at most {MOST} times as long as the bare encoder.")
    if arguments.json:
        protocol = {name: getattr(arguments, name) for name in ("size", "blocks", "frames", "side", "repeats")} | {
            "ratios": "to the encoder alone on the same frames as dense images, as many at a time",
            "peak_bytes": "of forward and backward, beyond weights, gradients and inputs",
        }
        write_json(arguments.json, "mllm.py", device, protocol, {"encoding": encoded, "training": trained})


if __name__ == "__main__":
    main()
