"""A photo and a clip through the tokenizer and back, with the embedded checkpoint: python examples/quickstart.py"""

from pathlib import Path

import torch

from atoken import AtokenModel
from atoken.processing import AtokenProcessor

root = Path(__file__).resolve().parent.parent
checkpoint = root / "checkpoints" / "atoken-tiny"
model = AtokenModel.from_pretrained(checkpoint, dtype=torch.float32).eval()
processor = AtokenProcessor.from_pretrained(checkpoint)

photo, clip = root / "examples/media/cat.jpg", root / "examples/media/cup.mp4"
inputs = processor(images=[photo], videos=[clip])  # one packed batch: the photo's tokens, then the clip's

with torch.no_grad():
    encoded = model.encode(inputs.pixel_values, inputs.coords, inputs.cu_seqlens)
    decoded = model.decode(encoded.latents, inputs.coords, inputs.cu_seqlens)

image, video = processor.post_process(decoded.pixel_values, inputs.coords, inputs.cu_seqlens, inputs.media_sizes)
print("tokens of each sample:", inputs.cu_seqlens.diff().tolist())
print("latents:", tuple(encoded.latents.shape), " embeddings:", tuple(encoded.pooler_output.shape))
print("photo back:", tuple(image.shape), " clip back:", tuple(video.shape))  # the sizes they came with

# The same as tensors, as diffusers has them: (B, C, H, W) in [-1, 1].
try:
    from atoken import AutoencoderAtoken
except ImportError:
    print('for diffusers: pip install "atoken[diffusers]"')
else:
    vae = AutoencoderAtoken.from_atoken_model(model)
    pixels = torch.rand(1, 3, 256, 256) * 2 - 1
    with torch.no_grad():
        latents = vae.encode(pixels).latent_dist.mode()
        print("as a diffusers VAE:", tuple(latents.shape), "->", tuple(vae.decode(latents).sample.shape))
