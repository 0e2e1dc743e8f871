"""Computes the embeddings of all captions once, as the text tower is frozen in training.

    python -m atoken.training.data.embed_captions CACHE DATA.yaml --model START --shard 0/8

writes those of the captions of all tasks of understanding, one part for each source and shard. START is what the
trainer is given as --init-from. Parts that are there are left as they are, so it goes on where it was stopped.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from safetensors.torch import save_file

from atoken.processing.atomic_files_atoken import atomic_file
from atoken.processing.text_processing_atoken import tokenize_text

from ..starts import load_start
from .drawn_sources import OPENERS
from .sources import open_source
from .tasks import KINDS, read_data
from .text_cache import TOWER, caption_key, check_tower, fingerprint

BATCH = 256  # captions that are embedded together


class CaptionEmbeddings:
    """
    Writes embeddings of captions, part by part.

    Args:
        folder: of the cache; is made where there is none.
        tower: fingerprint of the text tower.
        embed: captions -> (B, d).

    Raises:
        ValueError: the folder has embeddings of another tower.
    """

    def __init__(self, folder: Path, tower: str, embed: Callable[[Sequence[str]], torch.Tensor]):
        self._folder, self._embed = folder, embed
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / TOWER).exists():
            with atomic_file(folder / TOWER) as temporary:
                temporary.write_text(json.dumps({"fingerprint": tower}) + "\n", encoding="utf-8")
        check_tower(folder, tower)

    def write(self, name: str, captions: Iterable[str]) -> None:
        """Embeds captions, each once, into the part of a name; one that is there already is left as it is."""
        path = self._folder / f"part-{name}.safetensors"
        if path.exists():
            return
        keys: dict[int, None] = {}
        parts, waiting = [], []
        for caption in captions:
            key = caption_key(caption)
            if key not in keys:
                keys[key] = None
                waiting.append(caption)
            if len(waiting) == BATCH:
                parts.append(self._embed(waiting).to("cpu", torch.bfloat16))
                waiting = []
        if waiting:
            parts.append(self._embed(waiting).to("cpu", torch.bfloat16))
        if not parts:
            return
        sorted_keys, order = torch.tensor(list(keys)).sort()
        with atomic_file(path) as temporary:
            save_file({"keys": sorted_keys, "embeds": torch.cat(parts)[order]}, temporary)


def tower_embedder(model: Any, tokenizer: Any) -> Callable[[Sequence[str]], torch.Tensor]:
    """Makes what embeds captions as a step of training does: captions -> (B, d) by the model's text tower."""
    length = model.config.text_config.max_position_embeddings

    @torch.inference_mode()
    def embed(captions: Sequence[str]) -> torch.Tensor:
        ids = tokenize_text(tokenizer, list(captions), max_length=length)
        return model.text_model(input_ids=ids.to(model.device)).pooler_output

    return embed


def main(
    cache: Annotated[Path, typer.Argument(help="Folder to write.")],
    data: Annotated[Path, typer.Argument(help="YAML file with the data sources of every task.")],
    model: Annotated[
        str, typer.Option(help="Model that the training starts from, whose text tower embeds. Folder or Hub name.")
    ],
    device: Annotated[str, typer.Option(help='"cpu" or "cuda".')] = "cpu",
    shard: Annotated[str, typer.Option(help="Which part of all captions: I/N.")] = "0/1",
) -> None:
    """Embeds the captions of all tasks of understanding."""
    index, _, count = shard.partition("/")
    loaded, processor = load_start(model)
    embed = tower_embedder(loaded.eval().to(device), processor.tokenizer)
    writer = CaptionEmbeddings(cache, fingerprint(loaded.text_model), embed)
    for task, entries in read_data(data).items():
        if not task.endswith("understanding"):
            continue
        for place, entry in enumerate(entries):
            source = open_source(entry, KINDS[task.partition("_")[0]], 0, openers=OPENERS)
            numbers = range(int(index), source.length, int(count))
            captions = (source.draw(number)().get("caption") for number in numbers)
            writer.write(f"{task}-{place}-{index}-of-{count}", (text for text in captions if text))


if __name__ == "__main__":
    typer.run(main)
