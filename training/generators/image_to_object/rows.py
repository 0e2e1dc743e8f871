"""The objects of a corpus: their latents and voxels, which occupy a grid, and statistics by object."""

import hashlib
import json

import numpy as np
import torch

from atoken.processing.atomic_files_atoken import atomic_file
from atoken.tokenizing.corpus.plan import PLAN
from atoken.tokenizing.corpus.reading import AtokenTokens
from atoken.tokenizing.loading import LoadedModel, encoder_fingerprint

STATISTICS = "object_statistics.json"
_MEASURED = 50_000  # objects that statistics are of, at most


class ObjectRows:
    """
    Reads the objects of a corpus of latents that `atoken tokenize --kind object` has written.

    Args:
        corpus: opened without normalization.
        tokenizer: the model that has written it.

    Attributes:
        voxels: (rows,) int64, how many each object has.
        resolution: R, voxels along a side of the grid.
        channels: C of a latent.

    Raises:
        ValueError: the corpus holds other tokens, or another model has written it.
    """

    def __init__(self, corpus: AtokenTokens, tokenizer: LoadedModel):
        kind, content = corpus.options.kind, corpus.options.content
        if (kind, content) != ("object", "latents"):
            raise ValueError(f"corpus must hold latents of objects, got {content} of kind {kind}")
        written = corpus.plan.facts["model"]
        given = {"fingerprint": tokenizer.fingerprint, "encoder": encoder_fingerprint(tokenizer.model)}
        if any(written[name] != value for name, value in given.items()):
            raise ValueError(
                f"corpus must be written by the tokenizer {tokenizer.name}, got one by {written['name']} with another "
                "fingerprint; tokenize again, or name that tokenizer"
            )
        self._corpus = corpus
        self.voxels = corpus.sizes()[:, 0]
        self.resolution = int(written["voxels"]["resolution"])
        self.channels = int(written["channels"])

    def __len__(self) -> int:
        return len(self._corpus)

    @property
    def digest(self) -> str:
        """Gives 32 hexadecimal digits that tell corpora apart, as features of their objects have to."""
        plan = (self._corpus.plan.folder / PLAN).read_bytes()
        return hashlib.sha256(plan + str(len(self)).encode()).hexdigest()[:32]

    def key(self, row: int) -> str:
        """Gives what an object is called."""
        return self._corpus[row]["key"]

    def latents(self, row: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Gives the latents (N, C) fp32, not normalized, and the voxels (N, 3) int64 [x, y, z] of an object."""
        item = self._corpus[row]
        return item["latents"].float(), item["coords"]

    def occupancy(self, row: int) -> torch.Tensor:
        """Gives which voxels an object has: (1, R, R, R) fp32 along x, y, z."""
        return occupancy_of(self._corpus[row]["coords"], self.resolution)

    def statistics(self) -> tuple[list[float], list[float]]:
        """
        Gives mean and standard deviation of latents by channel, where every object weighs the same.

        The mean is that of the objects' means; the deviation is the root of the mean of the objects' mean squares less
        the squared mean (TRELLIS). At most 50,000 objects are read, evenly spread; the corpus keeps the result.
        """
        path = self._corpus.plan.folder / STATISTICS
        if not path.is_file():
            rows = np.unique(np.linspace(0, len(self) - 1, min(len(self), _MEASURED)).round().astype(int))
            total = torch.zeros(2, self.channels, dtype=torch.float64)
            for row in rows.tolist():
                latents = self.latents(row)[0].double()
                total += torch.stack([latents.mean(0), latents.square().mean(0)])
            mean, square = total / len(rows)
            deviation = (square - mean.square()).clamp(min=0).sqrt()
            facts = {"objects": len(rows), "mean": mean.tolist(), "std": deviation.tolist()}
            with atomic_file(path) as temporary:
                temporary.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        facts = json.loads(path.read_text(encoding="utf-8"))
        # A channel that does not vary stays 0.
        return facts["mean"], [value if value > 0 else 1.0 for value in facts["std"]]


def occupancy_of(coords: torch.Tensor, resolution: int) -> torch.Tensor:
    """Gives a grid (1, R, R, R) fp32 along x, y, z that is 1 at the voxels (N, 3) and 0 elsewhere."""
    grid = torch.zeros(1, resolution, resolution, resolution)
    grid[0, coords[:, 0], coords[:, 1], coords[:, 2]] = 1
    return grid
