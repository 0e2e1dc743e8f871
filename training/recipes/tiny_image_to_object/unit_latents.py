"""Structure latents of about the size of noise, as flow matching expects them."""

from pathlib import Path

import torch

from atoken.generation import SparseStructureAutoencoder
from atoken.tokenizing.files import NewFolder

from ...generators.image_to_object.rows import ObjectRows


@torch.no_grad()
def scale_latents(vae: SparseStructureAutoencoder, occupancies: list[torch.Tensor]) -> torch.Tensor:
    """
    Changes an autoencoder so that each channel of its latents has a mean square of 1, and decodes to the same.

    The divergence brings latents to that size where it counts for much and training is long; with little of it they
    grow, and a flow would spend its steps where nothing is open any more.

    Args:
        vae: an autoencoder, which changes.
        occupancies: what latents are measured on, (1, R, R, R) each.

    Returns:
        (C,) fp32, what latents were divided by.
    """
    squares = [vae.encode(each[None]).latent_dist.mode().float().square().mean((0, 2, 3, 4)) for each in occupancies]
    sizes = torch.stack(squares).mean(0).sqrt().clamp(min=1e-6)  # (C,)
    last, first = vae.encoder.conv_out, vae.decoder.conv_in
    assert last.bias is not None
    for means in (last.weight.chunk(2)[0], last.bias.chunk(2)[0]):
        means.div_(sizes.view(-1, *[1] * (means.ndim - 1)))
    last.bias.chunk(2)[1].sub_(2 * sizes.log())  # log-variances
    first.weight.mul_(sizes[:, None, None, None])
    return sizes


def write_scaled(trained: Path, rows: ObjectRows, out: Path) -> Path:
    """Writes the autoencoder of a folder with latents of unit size into `out`, unless that is there; gives `out`."""
    if not out.is_dir():
        vae = SparseStructureAutoencoder.from_pretrained(trained).eval()
        scale_latents(vae, [rows.occupancy(row) for row in range(len(rows))])
        with NewFolder(out) as new:
            vae.save_pretrained(new)
    return out
