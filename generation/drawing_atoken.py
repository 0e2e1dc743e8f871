"""Random choices of generators of codes: orders of positions, codes by their logits, how many positions a step."""

import math

import torch

from .token_bridge_head_atoken import Draw

Generators = torch.Generator | list[torch.Generator] | None


def masked_counts(positions: int, steps: int) -> list[int]:
    """
    Gives how many positions are still masked after each step: a cosine (MaskGIT's), at least one drawn in each step.

    Args:
        positions: N, all masked at first.
        steps: n, at most N; after the last none is masked.
    """
    counts, masked = [], positions
    for step in range(steps - 1):
        wanted = math.floor(positions * math.cos(math.pi / 2 * (step + 1) / steps))
        masked = max(1, min(masked - 1, wanted))
        counts.append(masked)
    return [*counts, 0]


def random_numbers(batch: int, shape: tuple[int, ...], generator: Generators, device: torch.device) -> torch.Tensor:
    """
    Draws uniform numbers in [0, 1) for images: (B, *shape) fp32.

    Args:
        generator: of all images, or a list of one for each.

    Raises:
        ValueError: the list has another length.
    """
    if not isinstance(generator, list):
        source = device if generator is None else generator.device
        return torch.rand(batch, *shape, generator=generator, device=source).to(device)
    if len(generator) != batch:
        raise ValueError(f"generator must be one, or a list of {batch}, one for each image, got {len(generator)}")
    return torch.stack([torch.rand(*shape, generator=each, device=each.device).to(device) for each in generator])


def random_orders(batch: int, positions: int, generator: Generators, device: torch.device) -> torch.Tensor:
    """Gives an order of all positions for each image: (B, N) int64."""
    return random_numbers(batch, (positions,), generator, device).argsort(dim=1)


class CodeDrawing:
    """
    Draws codes of softmax(logits / temperature), image by image of numbers of its own.

    Args:
        batch: number of images.
        temperature: 0 takes the most likely code.
        generator: of all images, or a list of one for each.
        device: of the logits.
    """

    def __init__(self, batch: int, temperature: float, generator: Generators, device: torch.device):
        self._batch, self._temperature, self._generator, self._device = batch, temperature, generator, device

    def begin(self, count: int) -> Draw:
        """Gives what draws the codes of `count` positions of each image, one code after another."""

        def draw(logits: torch.Tensor, index: int) -> torch.Tensor:
            if self._temperature == 0:
                return logits.argmax(-1)
            chances = torch.softmax(logits.float() / self._temperature, dim=-1).cumsum(-1)
            numbers = random_numbers(self._batch, (count,), self._generator, self._device).flatten()
            found = torch.searchsorted(chances, (numbers * chances[:, -1])[:, None], right=True)
            return found[:, 0].clamp(max=logits.shape[-1] - 1)

        return draw
