"""What a generated object has to beat: the known object whose picture is nearest, and the mean of all of them."""

from collections.abc import Iterable, Sequence

import torch

OCCUPIED = 0.5  # share of the known objects that have a voxel of the mean object


class NearestObject:
    """
    Finds the known object one of whose pictures looks most like a given one.

    Args:
        conditions: of the known objects, (V, M, c) each, as generators see their pictures.
    """

    def __init__(self, conditions: Sequence[torch.Tensor]):
        self._seen = torch.stack(list(conditions))  # (rows, V, M, c)

    def row(self, condition: torch.Tensor) -> int:
        """Gives the row with the smallest squared difference of tokens to (M, c), over all pictures of all objects."""
        differences = [(seen.float() - condition).square().sum((1, 2)).min() for seen in self._seen]
        return int(torch.stack(differences).argmin())


def mean_object(
    objects: Iterable[tuple[torch.Tensor, torch.Tensor]], resolution: int, channels: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Gives the voxels (N, 3) that at least half of all objects have, and there the mean latents (N, C) of those that do.

    Where no voxel is so common, the most common ones are taken, as many as objects have on average.

    Args:
        objects: latents (N, C) and coords (N, 3) of each; one at a time is in memory.
        resolution: voxels along a side of the grid.
        channels: C.
    """
    counts, totals = torch.zeros(resolution**3), torch.zeros(resolution**3, channels)
    known = voxels = 0
    for latents, coords in objects:
        place = (coords[:, 0] * resolution + coords[:, 1]) * resolution + coords[:, 2]
        counts[place] += 1
        totals[place] += latents
        known, voxels = known + 1, voxels + len(coords)
    chosen = (counts >= OCCUPIED * known).nonzero()[:, 0]
    if not len(chosen):
        chosen = counts.topk(voxels // known).indices.sort().values
    coords = torch.stack([chosen // resolution**2, chosen // resolution % resolution, chosen % resolution], dim=1)
    return coords, totals[chosen] / counts[chosen][:, None]
