"""The tiny model before training: atoken-tiny's encoder, or a random one of its sizes, and a random Qwen2."""

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from atoken import AtokenModel, AtokenVisionModel
from atoken.mllm import (
    AtokenLlavaForConditionalGeneration,
    AtokenLlavaImageProcessor,
    AtokenLlavaProcessor,
    AtokenLlavaVideoProcessor,
)
from atoken_headers.model_folders import CHECKPOINTS

from .words import CONTEXT, build_tokenizer

TOWER = "atoken-tiny"
SIZE, FRAMES = 64, 8  # pixels of each side and frames that the model sees
# Four frames of a clip in detail, all eight in 2 x 2.
FIELDS = {"slow_frames": 4, "slow_stride": 1, "fast_grid": (2, 2)}
WIDTH, LAYERS, HEADS, INNER = 160, 4, 5, 448
# Larger than usual, as the model is narrow.
INITIALIZER_RANGE = 0.05


def build_parts(
    seed: int = 0, untrained_tower: bool = False, **fields
) -> tuple[AtokenLlavaForConditionalGeneration, AtokenLlavaProcessor]:
    """
    Joins an encoder with a new language model, in fp32.

    Args:
        seed: of new weights.
        untrained_tower: whether the encoder has new weights, too.
        fields: of the model's configuration, in place of `FIELDS`.

    Returns:
        The model and its processor, which resizes all media to about 64 x 64 pixels and takes 8 frames of a video.
    """
    torch.manual_seed(seed)
    tower = AtokenModel.from_pretrained(CHECKPOINTS / TOWER, dtype=torch.float32).vision_model
    if untrained_tower:
        tower = AtokenVisionModel(tower.config).float()
    words = build_tokenizer()
    language_model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(words),
            hidden_size=WIDTH,
            intermediate_size=INNER,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            num_key_value_heads=HEADS,
            max_position_embeddings=CONTEXT,
            initializer_range=INITIALIZER_RANGE,
            # The word that a picture shows and the same word in a question meet in one table.
            tie_word_embeddings=True,
            pad_token_id=words.pad_token_id,
            bos_token_id=None,
            eos_token_id=None,
        )
    )
    model = AtokenLlavaForConditionalGeneration.from_pretrained_parts(
        tower, language_model, words, **{**FIELDS, **fields}
    )
    area = {"min_pixels": SIZE**2, "max_pixels": SIZE**2}
    processor = AtokenLlavaProcessor.from_config(
        model.config,
        words,
        image_processor=AtokenLlavaImageProcessor(size=area),
        video_processor=AtokenLlavaVideoProcessor(size=area, max_frames=FRAMES),
    )
    return model, processor
