"""What a generated object has to beat: the training object whose picture is nearest, and the mean of all."""

import torch

from ...generators.image_to_object.features import ObjectFeatures
from ...generators.image_to_object.rows import ObjectRows

OCCUPIED = 0.5  # share of the training objects that have a voxel of the mean object


class NearestObject:
    """
    Finds the training object one of whose pictures looks most like a given one.

    Args:
        conditions: of the training objects, (V, M, c) each, as the generators see their pictures.
    """

    def __init__(self, conditions: ObjectFeatures):
        self._seen = torch.stack([conditions[row] for row in range(len(conditions))])  # (rows, V, M, c)

    def row(self, condition: torch.Tensor) -> int:
        """Gives the row with the smallest squared difference of tokens to (M, c), over all pictures of all objects."""
        differences = [(seen.float() - condition).square().sum((1, 2)).min() for seen in self._seen]
        return int(torch.stack(differences).argmin())


def mean_object(rows: ObjectRows) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Gives the voxels (N, 3) that at least half of all objects have, and there the mean latents (N, C) of those that do.

    Where no voxel is so common, the most common ones are taken, as many as objects have on average.
    """
    side = rows.resolution
    counts, totals = torch.zeros(side**3), torch.zeros(side**3, rows.channels)
    for row in range(len(rows)):
        latents, coords = rows.latents(row)
        place = (coords[:, 0] * side + coords[:, 1]) * side + coords[:, 2]
        counts[place] += 1
        totals[place] += latents
    chosen = (counts >= OCCUPIED * len(rows)).nonzero()[:, 0]
    if not len(chosen):
        chosen = counts.topk(int(rows.voxels.mean())).indices.sort().values
    coords = torch.stack([chosen // side**2, chosen // side % side, chosen % side], dim=1)
    return coords, totals[chosen] / counts[chosen][:, None]
