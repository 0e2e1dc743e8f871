"""What reduced precision costs in PSNR: `python benchmarks/low_precision.py` prints a Markdown table.

Photos go through encoder and decoder whose weights are rounded while they load; activations stay fp32, except in the
row of bf16. Needs `pip install "atoken[quantization]"`.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torchao.quantization import Int8WeightOnlyConfig, IntxWeightOnlyConfig
from torchao.quantization.granularity import PerGroup
from transformers import BitsAndBytesConfig, TorchAoConfig
from transformers.utils import logging

from atoken import AtokenModel
from atoken.processing import AtokenProcessor

ROOT = Path(__file__).resolve().parent.parent
CHECKPOINTS = ("atoken-tiny", "atoken-tiny-d")
# What stays as it is, as `modules_to_not_convert` takes it.
NOTHING: list[str] = []
MLPS = [".*mlp"]
NARROW = ["decoder.input_layer"]  # its 48 inputs are no whole blocks of bitsandbytes
ALL_BUT_ATTENTION = [".*mlp", ".*input_layer", "latent_proj", ".*out_layer"]


def groups(dtype: torch.dtype, size: int) -> IntxWeightOnlyConfig:
    """One scale for `size` neighboring input channels of each output channel."""
    return IntxWeightOnlyConfig(weight_dtype=dtype, granularity=PerGroup(size))


def bitsandbytes(kept: list[str], **scheme) -> BitsAndBytesConfig:
    """Blocks of 64 weights share a scale in 4 bits, and a row of them in 8 bits."""
    return BitsAndBytesConfig(**scheme, llm_int8_skip_modules=kept or ["none"])


FOUR_BITS = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
SETTINGS = {
    "bf16": None,
    "int8, a scale per row": (Int8WeightOnlyConfig(), NOTHING),
    "int8, a scale per row, MLPs kept": (Int8WeightOnlyConfig(), MLPS),
    "int8, groups of 16": (groups(torch.int8, 16), NOTHING),
    "int8, groups of 16, MLPs kept": (groups(torch.int8, 16), MLPS),
    "int4, groups of 16": (groups(torch.int4, 16), NOTHING),
    "int4, groups of 16, MLPs kept": (groups(torch.int4, 16), MLPS),
    "int4, groups of 16, attention only": (groups(torch.int4, 16), ALL_BUT_ATTENTION),
    "bitsandbytes, 8 bits": bitsandbytes(NOTHING, load_in_8bit=True),
    "bitsandbytes, 8 bits, MLPs kept": bitsandbytes(MLPS, load_in_8bit=True),
    "bitsandbytes, nf4, whole blocks only": bitsandbytes(NARROW, **FOUR_BITS),
    "bitsandbytes, nf4, whole blocks only, MLPs kept": bitsandbytes(NARROW + MLPS, **FOUR_BITS),
    "bitsandbytes, nf4, attention only": bitsandbytes(ALL_BUT_ATTENTION, **FOUR_BITS),
}


def load(folder: Path, setting: str | None) -> AtokenModel:
    """A checkpoint in one of `SETTINGS`, or in fp32."""
    if setting is None:
        return AtokenModel.from_pretrained(folder, dtype=torch.float32)
    if SETTINGS[setting] is None:
        return AtokenModel.from_pretrained(folder, dtype=torch.bfloat16)
    quantization = SETTINGS[setting]
    if isinstance(quantization, tuple):
        scheme, kept = quantization
        quantization = TorchAoConfig(scheme, modules_to_not_convert=kept)
    return AtokenModel.from_pretrained(folder, dtype=torch.float32, quantization_config=quantization)


@torch.no_grad()
def mean_psnr(model: AtokenModel, processor: AtokenProcessor, photos: Sequence[Path]) -> float:
    """Mean over the photos of the PSNR of their reconstructions, in dB."""
    inputs = processor(images=list(photos))
    packing = (inputs.coords, inputs.cu_seqlens)
    encoded = model.encode(inputs.pixel_values, *packing, pool=False)
    decoded = model.decode(encoded.latents, *packing).pixel_values
    pairs = zip(
        processor.post_process(decoded.float(), *packing, inputs.media_sizes),
        processor.post_process(inputs.pixel_values, *packing, inputs.media_sizes),
        strict=True,
    )
    values = [-10 * torch.log10((image - original).square().mean()) for image, original in pairs]
    return float(torch.stack(values).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoints", type=Path, nargs="+", default=[ROOT / "checkpoints" / c for c in CHECKPOINTS])
    parser.add_argument("--photos", type=Path, nargs="+", default=sorted((ROOT / "examples/media").glob("*.jpg")))
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    processors = [AtokenProcessor.from_pretrained(folder) for folder in arguments.checkpoints]

    def row(setting: str | None) -> list[float]:
        return [
            mean_psnr(load(folder, setting), processor, arguments.photos)
            for folder, processor in zip(arguments.checkpoints, processors, strict=True)
        ]

    baseline = row(None)
    print("| weights |", " | ".join(folder.name for folder in arguments.checkpoints), "|")
    print("|---|" + "---|" * len(baseline))
    print("| fp32 |", " | ".join(f"{value:.2f} dB" for value in baseline), "|", flush=True)
    for setting in SETTINGS:
        losses = [value - reference for value, reference in zip(row(setting), baseline, strict=True)]
        print(f"| {setting} |", " | ".join(f"{loss:+.2f}" for loss in losses), "|", flush=True)


if __name__ == "__main__":
    main()
