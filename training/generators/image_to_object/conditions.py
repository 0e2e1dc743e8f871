"""What generators of 3D objects see of pictures, encoded once for all objects of a corpus.

    python -m atoken.training.generators.image_to_object.conditions CORPUS PICTURES OUT --tokenizer atoken-so-c \\
        --encoder FOLDER

PICTURES/KEY holds the pictures of the object that CORPUS calls KEY, PNG or WebP with alpha. FOLDER is a DINOv2 with
registers of transformers; without it the tokenizer's own encoder sees the pictures.
"""

from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from PIL import Image
from tqdm import tqdm

from atoken.generation.object_conditions_atoken import picture_condition, picture_size
from atoken.generation.object_pictures_atoken import training_picture, with_alpha
from atoken.tokenizing.corpus.reading import AtokenTokens
from atoken.tokenizing.loading import LoadedModel, digest_of_weights, encoder_fingerprint, load_model

from .features import write_features
from .rows import ObjectRows

_SUFFIXES = (".png", ".webp")


def condition_facts(rows: ObjectRows, image_encoder: Any, tokenizer: LoadedModel, size: int) -> dict[str, Any]:
    """
    Says what decides conditions.

    Args:
        rows: of the corpus.
        image_encoder: a `Dinov2WithRegistersModel`, or None for the tokenizer's own encoder.
        tokenizer: that has written the corpus.
        size: pixels of the pictures' sides.
    """
    if image_encoder is None:
        encoder = encoder_fingerprint(tokenizer.model)
    else:
        encoder = digest_of_weights([image_encoder.config.to_dict()], image_encoder.state_dict())
    return {"features": "conditions", "corpus": rows.digest, "encoder": encoder, "picture_size": size}


def pictures_of(folder: Path, key: str) -> list[Image.Image]:
    """
    Reads the pictures of an object, in the order of their names.

    Raises:
        FileNotFoundError: there are none.
        ValueError: one has no alpha.
    """
    found = sorted(path for path in (folder / key).glob("*") if path.suffix.lower() in _SUFFIXES)
    if not found:
        raise FileNotFoundError(f"pictures must hold {' or '.join(_SUFFIXES)} files in {folder / key}, got none")
    return [with_alpha(Image.open(path), None, str(path)) for path in found]


def main(
    corpus: Annotated[Path, typer.Argument(help="Corpus of objects that atoken tokenize has written.")],
    pictures: Annotated[Path, typer.Argument(help="Folder with a folder of pictures for each of its keys.")],
    out: Annotated[Path, typer.Argument(help="Folder for what is seen of them.")],
    tokenizer: Annotated[str, typer.Option(help="Tokenizer that has written the corpus: folder or Hub name.")],
    encoder: Annotated[
        str | None, typer.Option(help="DINOv2 with registers. Default: the tokenizer's own encoder.")
    ] = None,
    size: Annotated[int, typer.Option(help="Pixels of the pictures' sides for the tokenizer's own encoder.")] = 256,
    device: Annotated[str, typer.Option(help='"auto", "cpu" or "cuda".')] = "auto",
) -> None:
    """Encode the pictures of all objects of a corpus."""
    loaded = load_model(tokenizer, device, "float32")
    target, image_encoder = loaded.model.execution_device, None
    if encoder is not None:
        from transformers import Dinov2WithRegistersModel

        image_encoder = Dinov2WithRegistersModel.from_pretrained(encoder).eval().to(target)
    rows = ObjectRows(AtokenTokens(corpus, normalize=False), loaded)
    side = picture_size(image_encoder, size)

    @torch.no_grad()
    def compute(row: int) -> torch.Tensor:
        placed = [torch.from_numpy(training_picture(each, side)) for each in pictures_of(pictures, rows.key(row))]
        stacked = torch.stack(placed).to(target)
        return picture_condition(stacked, image_encoder, loaded.model).to(torch.bfloat16)  # (V, M, c)

    facts = condition_facts(rows, image_encoder, loaded, side)
    with tqdm(total=len(rows)) as bar:
        for done in write_features(out, facts, len(rows), compute):
            bar.update(done - bar.n)


if __name__ == "__main__":
    typer.run(main)
