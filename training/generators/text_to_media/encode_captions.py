"""Encodes the captions of corpora once, as text encoders are frozen in training.

    python -m atoken.training.generators.text_to_media.encode_captions CAPTIONS --images images --videos videos \\
        --text-encoder google/t5-v1_1-xxl --text-encoder-2 openai/clip-vit-large-patch14 --device cuda --shard 0/8

writes each distinct caption, and the empty text, into the folder CAPTIONS that the training then reads. The same
command goes on where it was stopped, and with more corpora it adds their captions. `--shard I/N` does the I-th of N
shares, counted from 0, on a device of its own.
"""

from pathlib import Path
from typing import Annotated

import typer

from atoken.tokenizing.corpus.reading import AtokenTokens
from atoken.tokenizing.loading import load_model

from ...data.prepare_object_shards import parse_share
from .captions import captions_of, write_captions
from .text_encoders import open_text_encoders


def main(
    captions: Annotated[Path, typer.Argument(help="Folder to write.")],
    images: Annotated[Path | None, typer.Option(help="Corpus of images with captions.")] = None,
    videos: Annotated[Path | None, typer.Option(help="Corpus of videos with captions.")] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="Tokenizer whose text tower encodes: folder or Hub name.")
    ] = None,
    text_encoder: Annotated[
        str | None, typer.Option(help="Encoder of transformers instead: folder or Hub name.")
    ] = None,
    text_encoder_2: Annotated[
        str | None, typer.Option(help="CLIP for the vector of a whole text. Default: the first encoder gives it.")
    ] = None,
    device: Annotated[str, typer.Option(help='"cpu" or "cuda".')] = "cpu",
    shard: Annotated[str, typer.Option(metavar="I/N", help="Do the I-th of N shares, counted from 0.")] = "0/1",
) -> None:
    """Encodes the captions of a share that are not encoded yet."""
    corpora = [path for path in (images, videos) if path is not None]
    if not corpora:
        raise typer.BadParameter("--images or --videos must be given")
    if (tokenizer is None) == (text_encoder is None):
        raise typer.BadParameter("--tokenizer or --text-encoder must be given, and not both")
    try:
        share, shares = parse_share(shard)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    texts = [text for path in corpora for text in captions_of(AtokenTokens(path))]
    loaded = None if tokenizer is None else load_model(tokenizer, "cpu")
    encoders = open_text_encoders(loaded, text_encoder, text_encoder_2)
    name = encoders.fingerprint()
    for done, total in write_captions(captions, texts, encoders.to(device).encode, name, share, shares):
        print(f"{done:,} of {total:,} captions", flush=True)


if __name__ == "__main__":
    typer.run(main)
