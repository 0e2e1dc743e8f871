"""Corpora of a dozen scenes, as `atoken tokenize` writes them, with tiny random tokenizers."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from atoken.training.recipes.tiny_generators.corpora import write_corpus, write_pictures
from atoken.training.recipes.tiny_generators.scenes import CLASS_NAMES

from ...cli_samples import save_model

SIZES = {
    "lightning-dit": {"num_layers": 1, "num_attention_heads": 2, "attention_head_dim": 16},
    "token-bridge": {
        **{f"{part}_hidden_size": 32 for part in ("encoder", "decoder", "head")},
        **{f"{part}_num_layers": 1 for part in ("encoder", "decoder", "head")},
        **{f"{part}_num_attention_heads": 2 for part in ("encoder", "decoder", "head")},
        "buffer_size": 2,
    },
}


@dataclass(frozen=True)
class Files:
    """What a training is given."""

    stage: Path
    tokens: Path
    tokenizer: Path
    class_names: Path


@pytest.fixture(scope="session")
def files(tmp_path_factory) -> dict[str, Files]:
    """What both generators are trained on."""
    root = tmp_path_factory.mktemp("generators")
    write_pictures(root / "pictures.parquet", 12)
    (root / "classes.txt").write_text("\n".join(CLASS_NAMES))
    found = {}
    for kind, tokens in (("lightning-dit", "latents"), ("token-bridge", "codes")):
        tokenizer, stage = root / f"{tokens}-tokenizer", root / f"{kind}.yaml"
        save_model(tokenizer, discrete=tokens == "codes")
        write_corpus(root / "pictures.parquet", tokenizer, root / tokens)
        values = {"name": kind, "generator": kind, "preset": "tiny/1" if tokens == "latents" else "tiny"}
        values |= {"steps": 6, "batch_size": 4, "model": SIZES[kind]}
        values["optimizer"] = {"rate": 0.003, "warm_up": 2, "average": 0.9, "average_ramp": False}
        stage.write_text(yaml.safe_dump(values))
        found[kind] = Files(stage, root / tokens, tokenizer, root / "classes.txt")
    return found
