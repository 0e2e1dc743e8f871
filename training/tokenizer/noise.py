"""Normal random numbers that follow from what they are for, not from what was drawn before: by hashing counters.

A sample has the same noise whatever batch and process it is in, and a batch is drawn in one go, without a generator for
each sample.
"""

import math

import torch

# Constants of SplitMix64 (Steele, Lea and Flood, 2014), as signed numbers of 64 bits.
_STEP, _FIRST, _SECOND = (value - 2**64 for value in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def sample_noise(seed: int, numbers: torch.Tensor, cu_seqlens: torch.Tensor, tokens: int, width: int) -> torch.Tensor:
    """
    Draws standard normal noise for packed samples.

    Args:
        seed: of the run.
        numbers: (B,) int64, the samples' numbers; each with a seed has noise of its own.
        cu_seqlens: (B + 1,) integers, where each sample starts.
        tokens: of all samples, N.
        width: numbers for each token.

    Returns:
        (N, width) float32 on the device of `cu_seqlens`; token i of a sample has the same in any batch.
    """
    starts = cu_seqlens.long()
    owner = torch.repeat_interleave(starts.diff(), output_size=tokens)
    place = torch.arange(tokens, device=starts.device) - starts[owner]
    keys = _mixed(_mixed(numbers + seed * 2**40))[owner]  # (N,)
    counters = place[:, None] * width + torch.arange(width, device=starts.device)  # (N, width)
    first, second = (_uniform(_mixed(keys[:, None] + (2 * counters + which) * _STEP)) for which in (1, 2))
    # Box and Muller's transform; 1 - u is never 0.
    return (-2 * (1 - first).log()).sqrt() * (2 * math.pi * second).cos()


def _mixed(value: torch.Tensor) -> torch.Tensor:
    """Scrambles int64 as SplitMix64's output function does; products wrap around."""
    value = (value ^ _shifted(value, 30)) * _FIRST
    value = (value ^ _shifted(value, 27)) * _SECOND
    return value ^ _shifted(value, 31)


def _shifted(value: torch.Tensor, bits: int) -> torch.Tensor:
    """Shifts right without the sign."""
    return (value >> bits) & (2 ** (64 - bits) - 1)


def _uniform(value: torch.Tensor) -> torch.Tensor:
    """Turns random int64 into float32 in [0, 1), of 24 bits."""
    return _shifted(value, 40).float() * 2.0**-24
