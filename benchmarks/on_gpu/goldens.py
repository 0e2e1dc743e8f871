"""The numbers of the authors' code (fp32, CPU) against this device, in fp32 and in bf16."""

from collections.abc import Iterator

import torch
from safetensors.torch import load_file

from atoken.conversion_atoken import convert_original_checkpoint
from atoken.tokens_atoken import patchify

from .parts import Row, Setup, attempt

# Model, medium, and what is compared of it.
CASES = (("continuous", "image"), ("continuous", "video"), ("discrete", "image"))


@torch.inference_mode()
def measure_goldens(setup: Setup) -> Iterator[Row]:
    """Gives for every case and dtype how far features, latents and the reconstruction are from the golden ones."""
    for kind, name in CASES:
        for dtype in (torch.float32, torch.bfloat16):
            row = {"case": f"{kind} {name}", "dtype": str(dtype).removeprefix("torch.")}
            yield attempt(row, lambda kind=kind, name=name, dtype=dtype: _compare(kind, name, dtype, setup))


def _compare(kind: str, name: str, dtype: torch.dtype, setup: Setup) -> Row:
    path = setup.golden / f"{kind}.tensors.safetensors"
    if not path.is_file():
        return {"missing": f"there is no {path}"}
    tensors = load_file(path)
    model = convert_original_checkpoint(
        setup.golden / f"{kind}.weights.safetensors",
        encoder_num_heads=2,
        quantizer="fsq" if kind == "discrete" else None,
    )
    model = model.to(setup.device, dtype).eval()
    pixels = tensors[f"{name}.input"]
    pixels = (pixels[None] if pixels.ndim == 3 else pixels).permute(0, 3, 1, 2)[None].to(setup.device, dtype)
    encoded = model.encode(pixels)
    found = {
        "dense": encoded.last_hidden_state,
        "moments": torch.cat([encoded.latent_dist.mean, encoded.latent_dist.logvar], dim=-1),
    }
    # The golden latents, so that an error of the encoder is not counted twice.
    codes = tensors[f"{name}.codes"] if kind == "discrete" else tensors[f"{name}.moments"].chunk(2, dim=-1)[0]
    grid = (encoded.coords.amax(0)[:3] + 1).tolist()
    decoded = model.decode(codes.unflatten(0, (1, *grid)).to(setup.device, dtype)).pixel_values
    patches = patchify(decoded, model.vision_model.patch_size).flatten(0, -2)
    found["decoded"] = patches
    result: Row = {}
    for part, value in found.items():
        expected = tensors[f"{name}.{part}"].double()
        error = value.reshape(expected.shape).double().cpu() - expected
        result[part] = {"largest_error": float(error.abs().max()), "distance": float(error.norm() / expected.norm())}
    if kind == "discrete":
        result["equal_codes"] = float((encoded.codes.cpu() == tensors[f"{name}.indices"].long()).double().mean())
    return result
