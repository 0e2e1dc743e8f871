"""A model of this recipe with a text tower that knows real words, too, in the place of its own.

    python -m atoken.training.recipes.tiny.words_start MODEL OUT

MODEL has the text tower of `start`. OUT is the same model but for the text tower and its tokenizer; embeddings of the
miniature world's sentences stay what they were, so that its vision tower still fits them. Takes a few minutes.
"""

from pathlib import Path
from typing import Annotated

import torch
import typer

from atoken import AtokenConfig, AtokenModel
from atoken.processing import AtokenProcessor

from ...frozen_rows import ProtectedRows
from .words_text import train_word_model
from .words_vectors import WordVectors


def with_text_model(model: AtokenModel, text_model: torch.nn.Module) -> AtokenModel:
    """Makes a copy of a model, in float32, with another text tower of embeddings as wide."""
    config = AtokenConfig.from_dict({**model.config.to_dict(), "text_config": text_model.config.to_dict()})
    changed = AtokenModel(config).float().eval()
    state = {name: value for name, value in model.state_dict().items() if not name.startswith("text_model.")}
    state |= {f"text_model.{name}": value for name, value in text_model.state_dict().items()}
    changed.load_state_dict(state)
    return changed


def main(
    model: Annotated[Path, typer.Argument(help="Folder of a model with a text tower.")],
    out: Annotated[Path, typer.Argument(help="Folder of the new one.")],
    cache: Annotated[Path, typer.Option(help="Folder that keeps the downloaded packages.")],
    steps: Annotated[int, typer.Option(help="Of the text tower's training.")] = 1500,
    threads: Annotated[int, typer.Option(help="Of the processor.")] = 1,
    seed: Annotated[int, typer.Option()] = 0,
) -> None:
    """Writes the model with a new text tower."""
    torch.set_num_threads(threads)
    before = AtokenModel.from_pretrained(model, dtype=torch.float32).eval()
    processor = AtokenProcessor.from_pretrained(model)
    words = WordVectors.load(cache)
    tokenizer, text_model, curve = train_word_model(
        before.text_model, processor.tokenizer, words, steps=steps, seed=seed
    )
    with_text_model(before, text_model).save_pretrained(out)
    processor.tokenizer = tokenizer
    processor.save_pretrained(out)
    ProtectedRows.load(str(model)).save(out)
    print(f"1 - cosine {curve[0]:.4f} to {curve[-1]:.4f}")


if __name__ == "__main__":
    typer.run(main)
