"""A small SigLIP 2 of random weights, in the folder that a run starts from."""

from pathlib import Path

import torch
from transformers import Siglip2Config, Siglip2Model

from atoken.training.recipes.tiny.text_tower import build_tokenizer


def write_siglip2(folder: Path, width: int) -> Path:
    """Writes a model of two blocks a tower, with its tokenizer."""
    tokenizer = build_tokenizer()
    tower = {"hidden_size": width, "intermediate_size": 2 * width, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {**tower, "vocab_size": len(tokenizer), "max_position_embeddings": 16, "projection_size": width}
    text |= {"pad_token_id": 0, "bos_token_id": None, "eos_token_id": 1}
    torch.manual_seed(0)
    Siglip2Model(Siglip2Config(text_config=text, vision_config={**tower, "num_patches": 16})).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
