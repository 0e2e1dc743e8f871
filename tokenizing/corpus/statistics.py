"""What is known of all tokens of a corpus: mean and standard deviation by channel, and how often each code occurs."""

import base64
import math
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch


@dataclass
class TokenStatistics:
    """
    Sums over tokens, in float64, of what is stored; merged in the order of units they do not depend on who made them.

    Attributes:
        tokens: how many.
        total, squares: (channels,) sums of latents and of their squares; None of codes.
        counts: (codebooks, entries) occurrences; None of latents.
    """

    tokens: int = 0
    total: np.ndarray | None = None
    squares: np.ndarray | None = None
    counts: np.ndarray | None = None

    @classmethod
    def of_latents(cls, channels: int) -> "TokenStatistics":
        """Begins those of latents."""
        return cls(0, np.zeros(channels), np.zeros(channels))

    @classmethod
    def of_codes(cls, codebooks: int, entries: int) -> "TokenStatistics":
        """Begins those of codes."""
        return cls(0, counts=np.zeros((codebooks, entries), dtype=np.int64))

    def add(self, values: torch.Tensor) -> None:
        """Adds (N, channels) latents or (N, codebooks) codes."""
        self.tokens += len(values)
        if self.counts is not None:
            entries = self.counts.shape[1]
            books = np.arange(self.counts.shape[0]) * entries
            flat = (values.numpy().astype(np.int64) + books).ravel()
            self.counts += np.bincount(flat, minlength=self.counts.size).reshape(self.counts.shape)
        else:
            # By numpy, whose sums do not depend on the number of threads.
            exact = values.double().numpy()
            self.total += exact.sum(axis=0)
            self.squares += np.square(exact).sum(axis=0)

    def merge(self, other: "TokenStatistics") -> None:
        """Adds the sums of the tokens that follow."""
        self.tokens += other.tokens
        for name in ("total", "squares", "counts"):
            if getattr(self, name) is not None:
                getattr(self, name).__iadd__(getattr(other, name))

    def summary(self) -> dict[str, Any]:
        """
        Gives "tokens", and "mean" and "std" (of the population) by channel, or by codebook the "used" entries and the
        "perplexity", which is 2 to the entropy in bits.
        """
        if self.tokens == 0:
            return {"tokens": 0}
        if self.counts is None:
            mean = self.total / self.tokens
            variance = np.maximum(self.squares / self.tokens - mean**2, 0)
            return {"tokens": self.tokens, "mean": mean.tolist(), "std": np.sqrt(variance).tolist()}
        shares = self.counts / self.tokens
        entropy = -(shares * np.log2(np.where(shares > 0, shares, 1))).sum(axis=1)
        return {
            "tokens": self.tokens,
            "entries": self.counts.shape[1],
            "used": (self.counts > 0).sum(axis=1).tolist(),
            "perplexity": [math.exp2(each) for each in entropy],
        }

    def as_json(self) -> dict[str, Any]:
        """Gives all of it, exactly."""
        if self.counts is None:
            # repr of a float64 is exact.
            return {"tokens": self.tokens, "sum": self.total.tolist(), "squares": self.squares.tolist()}
        packed = base64.b64encode(zlib.compress(self.counts.astype("<i8").tobytes())).decode("ascii")
        return {"tokens": self.tokens, "shape": list(self.counts.shape), "counts": packed}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "TokenStatistics":
        """Reverses `as_json`."""
        if "counts" not in values:
            return cls(values["tokens"], np.array(values["sum"]), np.array(values["squares"]))
        counts = np.frombuffer(zlib.decompress(base64.b64decode(values["counts"])), dtype="<i8")
        return cls(values["tokens"], counts=counts.reshape(values["shape"]).astype(np.int64))
