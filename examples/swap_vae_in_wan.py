"""AToken in the place of Wan's autoencoder: python examples/swap_vae_in_wan.py

The denoiser and the text encoder are tiny and random, so that this runs offline; what comes out is noise, of the right
shape. With real weights everything but `tiny_wan` stays as it is; the denoiser has to be trained on AToken's latents.
"""

from pathlib import Path

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, WanPipeline, WanTransformer3DModel
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from atoken import AutoencoderAtoken

root = Path(__file__).resolve().parent.parent


def tiny_wan() -> dict[str, object]:
    """What `WanPipeline.from_pretrained(...).components` has besides the autoencoder."""
    words = ["<pad>", "<unk>", "a", "red", "fox"]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    text = UMT5Config(vocab_size=len(words), d_model=16, d_kv=8, d_ff=24, num_layers=1, num_heads=2)
    return {
        "tokenizer": PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>"),
        "text_encoder": UMT5EncoderModel(text).eval(),
        "transformer": WanTransformer3DModel(
            num_attention_heads=2,
            attention_head_dim=12,
            in_channels=48,  # AToken's latents have as many channels as those of Wan 2.2
            out_channels=48,
            text_dim=16,
            freq_dim=16,
            ffn_dim=32,
            num_layers=1,
        ),
        "scheduler": FlowMatchEulerDiscreteScheduler(),
    }


torch.manual_seed(0)
vae = AutoencoderAtoken.from_pretrained(root / "checkpoints/atoken-tiny")
pipeline = WanPipeline(vae=vae, **tiny_wan())
pipeline.set_progress_bar_config(disable=True)
arguments = {"prompt": "a red fox", "height": 64, "width": 96, "num_inference_steps": 2, "output_type": "pt"}

for frames in (1, 17):
    video = pipeline(num_frames=frames, **arguments).frames
    print(f"{frames} frames asked for:", tuple(video.shape))

# One after another instead of together: less memory, the same video.
generators = [torch.Generator().manual_seed(1) for _ in range(2)]
expected = pipeline(num_frames=17, generator=generators[0], **arguments).frames
vae.enable_slicing()
vae.enable_tiling()
actual = pipeline(num_frames=17, generator=generators[1], **arguments).frames
print("largest difference with slicing and tiling:", f"{(actual - expected).abs().max():.1e}")
