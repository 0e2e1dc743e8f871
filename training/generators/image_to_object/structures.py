"""Latents of the structures of a corpus's objects, which stage 1 of image to 3D learns, encoded once.

    python -m atoken.training.generators.image_to_object.structures CORPUS VAE OUT --tokenizer atoken-so-c

VAE is the folder of a trained `SparseStructureAutoencoder`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import torch
import typer
from tqdm import tqdm

from atoken.generation import SparseStructureAutoencoder
from atoken.tokenizing.corpus.reading import AtokenTokens
from atoken.tokenizing.loading import digest_of_weights, load_model

from .features import write_features
from .rows import ObjectRows


def write_structures(rows: ObjectRows, vae: SparseStructureAutoencoder, out: Path) -> Iterator[int]:
    """
    Writes the mean of each object's structure latents, (C, r, r, r) fp32; goes on where it was stopped.

    Yields:
        How many objects are done.

    Raises:
        ValueError: the folder holds structures of another corpus or of another autoencoder.
    """
    config = {name: value for name, value in vae.config.items() if not name.startswith("_")}
    facts = {
        "features": "structures",
        "corpus": rows.digest,
        "autoencoder": digest_of_weights([config], vae.state_dict()),
    }

    @torch.no_grad()
    def compute(row: int) -> torch.Tensor:
        return vae.encode(rows.occupancy(row)[None].to(vae.device)).latent_dist.mode()[0].float()

    yield from write_features(out, facts, len(rows), compute)


def main(
    corpus: Annotated[Path, typer.Argument(help="Corpus of objects that atoken tokenize has written.")],
    vae: Annotated[Path, typer.Argument(help="Folder of a trained structure VAE.")],
    out: Annotated[Path, typer.Argument(help="Folder for the latents of structures.")],
    tokenizer: Annotated[str, typer.Option(help="Tokenizer that has written the corpus: folder or Hub name.")],
    device: Annotated[str, typer.Option(help='"auto", "cpu" or "cuda".')] = "auto",
) -> None:
    """Encode the structures of all objects of a corpus."""
    loaded = load_model(tokenizer, device)
    rows = ObjectRows(AtokenTokens(corpus, normalize=False), loaded)
    model = SparseStructureAutoencoder.from_pretrained(vae).eval().to(loaded.model.execution_device)
    with tqdm(total=len(rows)) as bar:
        for done in write_structures(rows, model, out):
            bar.update(done - bar.n)


if __name__ == "__main__":
    typer.run(main)
