"""A tiny random CLIP in a folder, as scores of captions load it."""

from pathlib import Path

import torch
import transformers

from ...processing.samples import tiny_tokenizer

LONGEST = 16  # tokens of a caption
_SIZES = {"hidden_size": 32, "intermediate_size": 37, "num_hidden_layers": 2, "num_attention_heads": 4}


def save_clip(folder: Path) -> Path:
    """Saves model, image processor and tokenizer; gives the folder."""
    torch.manual_seed(0)
    ids = {"bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0}
    text = {**_SIZES, **ids, "vocab_size": 99, "max_position_embeddings": LONGEST}
    config = transformers.CLIPConfig(
        text_config=text, vision_config={**_SIZES, "image_size": 32, "patch_size": 8}, projection_dim=24
    )
    model = transformers.CLIPModel(config).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name.endswith("weight") and value.ndim > 1:
                value.copy_(torch.randn_like(value) * 0.3)  # the weights of a new model make all pictures alike
        model.logit_scale.fill_(3.7)
    model.save_pretrained(folder)
    size = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    transformers.CLIPImageProcessor(**size).save_pretrained(folder)
    tokenizer = tiny_tokenizer(with_bos=True)
    tokenizer.model_max_length = LONGEST
    tokenizer.save_pretrained(folder)
    return folder
