"""AToken beside AutoencoderKLWan of diffusers in the size of Wan 2.2, on the same batches."""

from collections.abc import Callable, Iterator

import torch
from measure import interleaved, peak_memory, ratios

from .models import Case, cases, make_model
from .parts import Row, Setup, attempt

TINY_WAN = {"base_dim": 8, "decoder_base_dim": 8}


def _build_wan(setup: Setup) -> torch.nn.Module:
    from wan import WAN_22, build_wan

    if not setup.tiny:
        return build_wan(setup.device, setup.dtype)
    from diffusers import AutoencoderKLWan

    return AutoencoderKLWan(**WAN_22 | TINY_WAN).eval()


@torch.inference_mode()
def measure_wan(setup: Setup) -> Iterator[Row]:
    """Times both in turns; Wan codes 4 k + 1 frames, and is tiled where the whole frames do not fit into memory."""
    built: dict[str, torch.nn.Module] = {}

    def build() -> Row:
        built["wan"] = _build_wan(setup)
        return {"parameters": sum(parameter.numel() for parameter in built["wan"].parameters())}

    yield attempt({"case": "AutoencoderKLWan"}, build)
    if not built:
        return
    wan, model = built["wan"], make_model(setup)
    for name, case in cases(setup).items():
        # Channels come before time in both tensors of Wan.
        pixels, latents = case.pixels(setup), case.latents(setup, model.config.latent_channels)
        clip, code = pixels.transpose(1, 2).contiguous(), latents.permute(0, 4, 1, 2, 3).contiguous()
        pairs = {
            "encode": (
                lambda pixels=pixels: model.encode(pixels, pool=False),
                lambda clip=clip: wan.encode(clip).latent_dist.mode(),
            ),
            "decode": (
                lambda latents=latents: model.decode(latents),
                lambda code=code: wan.decode(code).sample,
            ),
        }
        for direction, (ours, theirs) in pairs.items():
            row = {"case": name, "direction": direction, "frames": case.frames}
            found = attempt(
                row | {"tiled": False},
                lambda ours=ours, theirs=theirs, case=case: _in_turns(ours, theirs, case, setup),
            )
            yield found
            if "error" in found and "OutOfMemory" in found["error"]:
                wan.enable_tiling()
                yield attempt(
                    row | {"tiled": True},
                    lambda ours=ours, theirs=theirs, case=case: _in_turns(ours, theirs, case, setup),
                )
                wan.disable_tiling()


def _in_turns(ours: Callable[[], object], theirs: Callable[[], object], case: Case, setup: Setup) -> Row:
    times = interleaved({"atoken": ours, "wan": theirs}, 1 if setup.tiny else 3, setup.device)
    factor = ratios(times["wan"], times["atoken"])
    return {
        "all_seconds": times,
        "times_slower": factor["median"],
        "peak_memory_bytes": {
            "atoken": peak_memory(ours, setup.device),
            "wan": peak_memory(theirs, setup.device),
        },
        "frames_coded_by_wan": 4 * ((case.frames - 1) // 4) + 1,
    }
