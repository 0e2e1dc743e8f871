"""Pictures of samples while a generator is trained, drawn from the averaged weights."""

from pathlib import Path
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.utils import make_image_grid

from atoken.evaluation.seeded_images import image_generator
from atoken.generation import LightningDiTPipeline, LightningDiTTransformer2DModel, TokenBridgePipeline
from atoken.processing.atomic_files_atoken import atomic_file

from ..trainer import Hook, Trainer

IMAGES, COLUMNS = 16, 4
STEPS = 50  # of Lightning-DiT; TokenBridge takes as many as it has positions, at most


class DrawnSamples(Hook):
    """
    Draws the same classes with the same numbers every so often, into OUTPUT/samples/STEP.png, in the first process.

    Args:
        model: the generator, of which the first process has all weights.
        vae: the autoencoder of its tokens.
        every: steps between pictures.
        guidance_scale: of the pictures.
    """

    def __init__(self, model: Any, vae: Any, every: int, guidance_scale: float = 1.65):
        self._model, self._vae, self._every, self._guidance = model, vae, every, guidance_scale

    def after_step(self, trainer: Trainer) -> None:
        """Draws, if it is time."""
        step = trainer.progress.step
        if step % self._every:
            return
        trainer.average.swap(trainer.objective)
        try:
            if trainer.accelerator.is_main_process:
                self._draw(trainer.settings.output / f"samples/{step:08d}.png", trainer.accelerator.device)
        finally:
            trainer.average.swap(trainer.objective)
        trainer.accelerator.wait_for_everyone()

    def _draw(self, path: Path, device: torch.device) -> None:
        self._model.eval()
        if isinstance(self._model, LightningDiTTransformer2DModel):
            pipeline = LightningDiTPipeline(self._model, self._vae, FlowMatchEulerDiscreteScheduler())
            steps = STEPS
        else:
            pipeline = TokenBridgePipeline(self._model, self._vae)
            steps = min(STEPS, self._model.num_positions)
        pipeline.to(device).set_progress_bar_config(disable=True)
        labels = [index % self._model.config.num_classes for index in range(IMAGES)]
        numbers = [image_generator(0, index) for index in range(IMAGES)]
        images = pipeline(labels, steps, guidance_scale=self._guidance, generator=numbers).images
        self._model.train()
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as temporary:
            make_image_grid(images, IMAGES // COLUMNS, COLUMNS).save(temporary, format="PNG")
