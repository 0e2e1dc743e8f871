"""How well pictures fit captions: CLIP-Score (Hessel et al., 2021) and PickScore (Kirstain et al., 2023).

Both are the cosine of a picture's and a caption's embedding by a CLIP of transformers. CLIP-Score is 100 times that, as
torchmetrics has it; PickScore is a CLIP that learned which pictures people prefer, and multiplies by what it learned.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional as F
from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

from ..models.pretrained import load_model, load_pretrained

CLIP_SCORE, PICK_SCORE = "clip-score", "pick-score"
# Measure -> the model on the Hub whose score it is: torchmetrics' default (the paper does not name its CLIP), and the
# weights that the authors of PickScore publish.
MODELS = {CLIP_SCORE: "openai/clip-vit-large-patch14", PICK_SCORE: "yuvalkirstain/PickScore_v1"}
_SCALE = 100.0  # of CLIP-Score
_BATCH = 64  # frames


class PromptScore:
    """
    Scores pictures and clips against captions.

    Args:
        measure: "clip-score" or "pick-score".
        path: folder of a CLIP with its image processor and tokenizer, or its name on the Hub, whose files have to be on
            this machine; by default that of `MODELS`.
        device: where it runs, in fp32.

    Attributes:
        path: where the model is from.
        network: the model.
        scale: what cosines are multiplied by.

    Raises:
        FileNotFoundError: there is no such model here; says how to get it.
        ValueError: it is no whole CLIP.
    """

    def __init__(self, measure: str, path: str | None = None, device: str = "cpu"):
        self.path = MODELS[measure] if path is None else str(path)
        options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            self.network = load_model(CLIPModel, self.path, dtype=torch.float32, **options).to(device).eval()
            self.processor = load_pretrained(AutoImageProcessor, self.path, **options)
            self.tokenizer = load_pretrained(AutoTokenizer, self.path, **options)
        except (FileNotFoundError, ValueError) as error:
            kind = FileNotFoundError if isinstance(error, FileNotFoundError) else ValueError
            raise kind(f"{measure}: {error}") from error
        self.longest = self.network.config.text_config.max_position_embeddings
        self.scale = _SCALE if measure == CLIP_SCORE else float(self.network.logit_scale.detach().double().exp())

    def is_cut(self, caption: str) -> bool:
        """Tells whether a caption has more tokens than the model takes; its end is then left out."""
        return len(self.tokenizer(caption).input_ids) > self.longest

    @torch.no_grad()
    def __call__(self, media: Sequence[torch.Tensor], captions: Sequence[str]) -> torch.Tensor:
        """
        Scores each of N pictures or clips against its caption: (N,) float64; of a clip the mean over its frames.

        Args:
            media: (T, 3, H, W) uint8 each.
            captions: N texts.
        """
        texts = self._normalized(self._text_embeddings(captions))
        scores = []
        for each, text in zip(media, texts, strict=True):
            frames = torch.cat([self._image_embeddings(batch) for batch in each.split(_BATCH)])
            scores.append((self._normalized(frames) @ text).mean())
        return self.scale * torch.stack(scores)

    def _text_embeddings(self, captions: Sequence[str]) -> torch.Tensor:
        inputs = self.tokenizer(
            list(captions), padding=True, truncation=True, max_length=self.longest, return_tensors="pt"
        ).to(self.network.device)
        return self.network.get_text_features(inputs.input_ids, inputs.attention_mask).pooler_output

    def _image_embeddings(self, frames: torch.Tensor) -> torch.Tensor:
        pixels = self.processor(images=list(frames), return_tensors="pt").pixel_values
        return self.network.get_image_features(pixels.to(self.network.device)).pooler_output

    @staticmethod
    def _normalized(embeddings: torch.Tensor) -> torch.Tensor:
        return F.normalize(embeddings.double().cpu(), dim=-1)
