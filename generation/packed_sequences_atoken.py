"""Samples of different lengths, one after another in one tensor."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class PackedSequences:
    """
    Holds where each of B samples lies among N packed tokens.

    Samples of one length are handled as a dense batch (B, L, d), all others as rows (N, d).

    Attributes:
        lengths: tokens of each sample, known on the host.
        sample: (N,) int64, the sample of each token.
        cu_seqlens: (B + 1,) int32, where each sample starts.
    """

    lengths: tuple[int, ...]
    sample: torch.Tensor
    cu_seqlens: torch.Tensor

    @classmethod
    def of(cls, lengths: list[int], device: torch.device) -> "PackedSequences":
        """Makes them of the samples' lengths."""
        counts = torch.tensor(lengths, device=device)
        sample = torch.repeat_interleave(counts, output_size=sum(lengths))
        starts = torch.nn.functional.pad(counts.cumsum(0), (1, 0)).int()
        return cls(tuple(lengths), sample, starts)

    @property
    def is_even(self) -> bool:
        """Tells whether all samples have the same length."""
        return len(set(self.lengths)) == 1

    def rows(self, tokens: torch.Tensor) -> torch.Tensor:
        """Gives (N, d) as (B, L, d) where all samples have one length, else as it is."""
        return tokens.unflatten(0, (len(self.lengths), self.lengths[0])) if self.is_even else tokens

    def packed(self, rows: torch.Tensor) -> torch.Tensor:
        """Undoes `rows`: gives (N, d)."""
        return rows.flatten(0, 1) if self.is_even else rows

    def spread(self, values: torch.Tensor) -> torch.Tensor:
        """Gives each sample's values (B, d) in a shape that adds to `rows`: (B, 1, d), or (N, d)."""
        return values[:, None] if self.is_even else values[self.sample]
