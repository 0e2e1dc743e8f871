"""Encoder and decoder as self-contained programs: `torch.export` and ONNX.

A program has the size of its example; only the batch varies. Media are dense tensors, because the lengths of packed
samples decide what is computed.
"""

import sys
import tempfile
from pathlib import Path

import torch
from torch import nn

from .modeling_atoken import AtokenModel

# Exporters want an upper bound to reason with; memory ends long before it.
MAX_BATCH = 2**16

PARTS = ("encode", "decode")


class _Encode(nn.Module):
    def __init__(self, model: AtokenModel):
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
        # How many pieces a batch is cut into would depend on its size, so it runs as one.
        encoded = self.model.encode(pixel_values, batch_tokens=sys.maxsize)
        grid = (pixel_values.shape[0], *self.model._latent_grid(pixel_values))
        outputs = {"latents": encoded.latents.unflatten(0, grid)}
        if encoded.codes is not None:
            outputs["codes"] = encoded.codes.unflatten(0, grid)
        if encoded.pooler_output is not None:
            outputs["pooler_output"] = encoded.pooler_output
        return outputs


class _Decode(nn.Module):
    def __init__(self, model: AtokenModel):
        super().__init__()
        self.model = model

    def forward(self, latents: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"pixel_values": self.model.decode(latents, batch_tokens=sys.maxsize).pixel_values}


def export_program(
    model: AtokenModel, part: str, example: torch.Tensor, dynamic_batch: bool = True
) -> torch.export.ExportedProgram:
    """
    Exports one half of the tokenizer as an `ExportedProgram`, which runs, saves and compiles without this package.

    Args:
        model: continuous or discrete, with `cache_frames` 0.
        part: "encode" takes pixel_values and returns a dictionary with `latents` (B, t, h, w, latent_channels),
            `codes` (B, t, h, w, num_codebooks) of a discrete model, and `pooler_output` (B, d) if the model has the
            pooling head. "decode" takes such latents and returns `pixel_values` (B, T, C, H, W).
        example: what the program will take, any values, on the model's device: (B, C, H, W) or (B, T, C, H, W) for
            "encode", (B, t, h, w, latent_channels) for "decode". All sizes but B are fixed by it.
        dynamic_batch: whether B may differ from the example's.

    Raises:
        ValueError: naming the argument that does not fit.
    """
    if part not in PARTS:
        raise ValueError(f'part must be "encode" or "decode", got {part!r}')
    is_tensor = isinstance(example, torch.Tensor)
    if not is_tensor or example.ndim not in ((4, 5) if part == "encode" else (5,)) or 0 in example.shape:
        expected = "(B, C, H, W) or (B, T, C, H, W)" if part == "encode" else "(B, t, h, w, latent_channels)"
        given = tuple(example.shape) if is_tensor else type(example).__name__
        raise ValueError(f'example must be a dense tensor {expected} for part "{part}", got {given}')
    config = model.config.vision_config if part == "encode" else model.config.decoder_config
    if config.cache_frames:
        raise ValueError(
            f"{config.base_config_key}.cache_frames must be 0, got {config.cache_frames}: windows that follow each "
            "other cannot be one program"
        )
    dynamic_shapes = None
    if dynamic_batch:
        dynamic_shapes = ({0: torch.export.Dim("batch", min=1, max=MAX_BATCH)},)
        if example.shape[0] == 1:
            example = torch.cat([example, example])  # a batch of 1 would be taken for a constant
    wrapper = (_Encode if part == "encode" else _Decode)(model)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            wrapper(example)  # the model's own message for what does not fit
            return torch.export.export(wrapper, (example,), dynamic_shapes=dynamic_shapes)
    finally:
        model.train(was_training)


def export_onnx(
    model: AtokenModel, part: str, example: torch.Tensor, path: str | Path, dynamic_batch: bool = True
) -> Path:
    """
    Exports one half of the tokenizer as an ONNX file. Needs `pip install "atoken[export]"`.

    Inputs and outputs are named as in [`export_program`]. Weights of more than 2 GB go into a file beside it, called
    like it with `.data` at the end.

    Args:
        model, part, example, dynamic_batch: as in [`export_program`]. In fp32 or fp16: few runtimes know bf16.
        path: where to write; what is there is replaced.

    Returns:
        The path.

    Raises:
        ImportError: if onnx or onnxscript is missing.
        ValueError: naming the argument that does not fit.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(f'ONNX files need onnx and onnxscript: pip install "atoken[export]" ({error})') from error
    path = Path(path)
    if not path.parent.is_dir():
        raise ValueError(f"path must lie in an existing folder, got {path}")
    program = export_program(model, part, example, dynamic_batch)
    names = list(program.module()(example))
    onnx_program = torch.onnx.export(program, output_names=names, dynamo=True, verbose=False)
    # Complete or not at all. The name must not change, as it is written into the file if weights lie beside it.
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        onnx_program.save(Path(folder, path.name))
        for file in Path(folder).iterdir():
            file.replace(path.parent / file.name)
    return path


__all__ = ["export_onnx", "export_program"]
