"""Encoding and decoding as they are by default, with other attention, compiled, and as one writes them first."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from bare_products import bare_decoder, bare_encoder
from measure import peak_memory

from atoken import AtokenModel

from .arithmetic import forward_flops, share_of_peak
from .models import Case, cases, make_model
from .parts import Row, Setup, attempt, timed

BACKENDS = ("flash_attention_2", "flash_attention_3", "flex_attention")


@dataclass(frozen=True)
class Coding:
    """Holds one direction of a case: what is called on which batch, and the operations that it takes."""

    name: str
    case: Case
    code: Callable[[torch.Tensor], torch.Tensor]
    inputs: torch.Tensor
    flops: float

    def measure(self, call: Callable[[torch.Tensor], torch.Tensor], setup: Setup) -> Row:
        """Gives seconds, tokens a second, the share of the peak (MFU) and the memory of a call beyond its input."""
        seconds = timed(lambda: call(self.inputs), setup)
        return {
            "seconds": seconds,
            "tokens_per_second": self.case.tokens / seconds,
            "mfu": share_of_peak(self.flops, seconds, setup),
            "peak_memory_bytes": peak_memory(lambda: call(self.inputs), setup.device),
        }


def codings(model: AtokenModel, setup: Setup) -> Iterator[tuple[Row, Coding]]:
    """Gives both directions of every case, and the beginning of their rows."""
    for name, case in cases(setup).items():
        grids = [case.grid] * case.batch
        encoding = Coding(
            "encode",
            case,
            lambda pixels: model.encode(pixels, pool=False).latents,
            case.pixels(setup),
            forward_flops(model.vision_model, grids),
        )
        decoding = Coding(
            "decode",
            case,
            lambda latents: model.decode(latents).pixel_values,
            case.latents(setup, model.config.latent_channels),
            forward_flops(model.decoder, grids),
        )
        for coding in (encoding, decoding):
            yield {"case": name, "direction": coding.name, "tokens": case.tokens}, coding


@torch.inference_mode()
def measure_coding(setup: Setup) -> Iterator[Row]:
    """Measures both directions by default, beside the bare products of the same shapes."""
    model = make_model(setup)

    def measure(coding: Coding) -> Row:
        found = coding.measure(coding.code, setup)
        bare = bare_encoder if coding.name == "encode" else bare_decoder
        seconds = timed(bare(model, coding.inputs), setup)
        return found | {"bare_seconds": seconds, "ratio_to_bare": found["seconds"] / seconds}

    for row, coding in codings(model, setup):
        row["attention"] = model.config._attn_implementation
        yield attempt(row, partial(measure, coding))


@torch.inference_mode()
def measure_compiled(setup: Setup) -> Iterator[Row]:
    """Measures compiled blocks, with how far their result is from that of the same blocks before."""
    model = make_model(setup)
    before = [(row, coding, coding.code(coding.inputs)) for row, coding in codings(model, setup)]
    for block in (*model.vision_model.blocks, *model.decoder.blocks):
        # A test has no time for a compiler.
        block.compile(backend="eager" if setup.tiny else "inductor")

    def measure(coding: Coding, expected: torch.Tensor) -> Row:
        found = coding.measure(coding.code, setup)
        return found | {"distance": _distance(coding.code(coding.inputs), expected)}

    for row, coding, expected in before:
        yield attempt(row, partial(measure, coding, expected))


@torch.inference_mode()
def measure_attention(setup: Setup) -> Iterator[Row]:
    """Measures a naive pass and other attention, with how far the result is from the default one."""
    model = make_model(setup)
    usual = model.config._attn_implementation
    # FlexAttention is compiled, for which a test has no time.
    backends = BACKENDS[:-1] if setup.tiny else BACKENDS

    def one_by_one(coding: Coding, inputs: torch.Tensor) -> torch.Tensor:
        return torch.cat([coding.code(one) for one in inputs.split(1)])

    def measure(coding: Coding, backend: str, call: Callable[[torch.Tensor], torch.Tensor]) -> Row:
        expected = coding.code(coding.inputs)
        try:
            model.set_attn_implementation(backend)
            found = coding.measure(call, setup)
            return found | {"distance": _distance(call(coding.inputs), expected)}
        finally:
            model.set_attn_implementation(usual)

    for row, coding in codings(model, setup):
        for backend in backends:
            yield attempt(row | {"variant": backend}, partial(measure, coding, backend, coding.code))
        # What one writes first: sample after sample, with every matrix of attention in memory.
        yield attempt(row | {"variant": "naive"}, partial(measure, coding, "eager", partial(one_by_one, coding)))


def _distance(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Gives the norm of the difference in that of what is expected."""
    return float((found.float() - expected.float()).norm() / expected.float().norm())
