"""A tiny configuration of the multimodal language model, and inputs with a picture and a clip in each sample."""

import torch
from transformers import Qwen2Config

from atoken import AtokenVisionConfig
from atoken.mllm import AtokenLlavaConfig

BATCH, LENGTH = 7, 12
WORDS, IMAGE, VIDEO = 99, 3, 4  # low ids, as tests shrink the vocabulary
LAYERS = 2


class AtokenLlavaModelTester:
    """Media of one patch each, so that tests which cut every input to its first rows cut samples off."""

    batch_size, seq_length = BATCH, LENGTH
    encoder_seq_length = key_length = LENGTH
    hidden_size = 32
    num_hidden_layers = LAYERS
    num_attention_heads = 2
    is_training = True

    def __init__(self, parent):
        self.parent = parent

    def get_config(self) -> AtokenLlavaConfig:
        text = Qwen2Config(
            vocab_size=WORDS,
            hidden_size=self.hidden_size,
            intermediate_size=48,
            num_hidden_layers=LAYERS,
            num_attention_heads=self.num_attention_heads,
            num_key_value_heads=self.num_attention_heads,
            max_position_embeddings=64,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        )
        vision = AtokenVisionConfig(
            hidden_size=32, intermediate_size=48, num_hidden_layers=LAYERS, num_attention_heads=2, vision_use_head=False
        )
        return AtokenLlavaConfig(
            vision_config=vision,
            text_config=text,
            image_token_id=IMAGE,
            video_token_id=VIDEO,
            slow_stride=1,
            fast_grid=(1, 1),
        )

    def prepare_config_and_inputs_for_common(self) -> tuple[AtokenLlavaConfig, dict[str, torch.Tensor]]:
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(5, WORDS, (BATCH, LENGTH), generator=generator)
        ids[:, 1:3], ids[:, 4:7] = IMAGE, VIDEO  # a patch and a newline; a slow frame, a separator, a fast frame
        grid = torch.ones(BATCH, 3, dtype=torch.long)
        return self.get_config(), {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "pixel_values": torch.rand(BATCH, 768, generator=generator) * 2 - 1,
            "image_grid_thw": grid,
            "pixel_values_videos": torch.rand(BATCH, 768, generator=generator) * 2 - 1,
            "video_grid_thw": grid.clone(),
        }
