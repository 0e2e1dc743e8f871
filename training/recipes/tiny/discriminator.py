"""A tiny discriminator, for the arm of the ablation that shows what it does (paper, Figure 4a).

    python -m atoken.training.recipes.tiny.discriminator STAGE --data DATA.yaml --init-from START --output OUT \\
        --losses l1,st-lpips-alex

It is `atoken.training.tokenizer.train` with an adversarial part of the image loss. The log has the discriminator's mean
logits of real and of reconstructed patches. The discriminator is in no checkpoint, so a run cannot be resumed.
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import nn
from torch.nn import functional as F

from ...data.batches import TrainingBatch
from ...data.tasks import open_tasks, read_data
from ...frozen_rows import ProtectedRows
from ...parallelism import build_accelerator
from ...program import begin, run_to_its_end
from ...starts import load_start, load_teacher
from ...tokenizer.curriculum import Stage, prepare_model
from ...tokenizer.networks import CLIP, ImageLosses
from ...tokenizer.objective import Objective
from ...tokenizer.perceptual import Crops
from ...tokenizer.train import ProgressBar
from ...tokenizer.turns import TurnBatches
from ...trainer import Trainer, TrainerSettings

SEEN = Crops(side=64, share=1.0)
# The adversarial gradient in the decoder's output has this many times the norm of L1's: half of what ST-LPIPS has, as
# VQGAN (Esser et al., 2021), which also takes the ratio of gradients, gives its discriminator up to 0.8 of the rest.
PULL = 5.0
RATE, MOMENTS = 4e-4, (0.5, 0.9)  # of Adam; the rate is that of the tokenizer's own


class PatchDiscriminator(nn.Module):
    """Judges patches of about 38 x 38 pixels of pictures, in [-1, 1], as PatchGAN (Isola et al., 2017) does."""

    def __init__(self, width: int = 32):
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        for _ in range(2):
            layers += [nn.Conv2d(width, 2 * width, 4, 2, 1), nn.GroupNorm(8, 2 * width), nn.LeakyReLU(0.2)]
            width *= 2
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, 1, 3, 1, 1))

    def forward(self, pictures: list[torch.Tensor]) -> torch.Tensor:
        """Gives the logits of all patches of pictures (1, 3, H, W): (K,), above 0 for real ones."""
        with torch.autocast(pictures[0].device.type, enabled=False):
            return torch.cat([self.layers(picture.float()).flatten() for picture in pictures])


class AdversarialObjective(Objective):
    """
    Adds the hinge loss of a discriminator, which is trained within each forward pass, to the image loss of `Objective`.

    Args:
        arguments: those of `Objective`, by name.
    """

    def __init__(self, **arguments):
        super().__init__(**arguments)
        extra = {"adversarial": 1.0, "logits_real": 0.0, "logits_fake": 0.0}
        self.weights = {**self.weights, "image": {**self.weights["image"], **extra}}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            # In a list it is no submodule: the trainer's optimizer leaves it alone.
            self._adversary = [PatchDiscriminator()]
        self._optimizer = torch.optim.Adam(self.discriminator.parameters(), lr=RATE, betas=MOMENTS)

    @property
    def discriminator(self) -> PatchDiscriminator:
        """Gives the discriminator as it is now."""
        return self._adversary[0]

    def _apply(self, fn, recurse: bool = True) -> "AdversarialObjective":
        """Moves the discriminator along."""
        super()._apply(fn, recurse)
        self.discriminator._apply(fn)
        return self

    def _compare_patches(self, batch: TrainingBatch, decoded: torch.Tensor) -> dict[str, torch.Tensor]:
        parts = super()._compare_patches(batch, decoded)
        if not batch.task.startswith("image"):
            return parts
        fake, real = (self._pictures(batch, patches) for patches in (decoded, batch.pixel_values))
        crops = SEEN.choose([picture.shape[-2:] for picture in real], f"{self.seed} {batch.numbers}")
        fake, real = ([side[crop.index][..., crop.rows, crop.columns] for crop in crops] for side in (fake, real))
        parts |= self._train_discriminator(real, [picture.detach() for picture in fake])
        # A gradient of its parameters would only be thrown away.
        self.discriminator.requires_grad_(False)
        adversarial = -self.discriminator(fake).mean()
        pulls = [
            torch.autograd.grad(part, decoded, retain_graph=True)[0].norm()
            for part in (self.weights["image"]["l1"] * parts["l1"], adversarial)
        ]
        parts["adversarial"] = PULL * pulls[0] / (pulls[1] + 1e-8) * adversarial
        return parts

    def _train_discriminator(self, real: list[torch.Tensor], fake: list[torch.Tensor]) -> dict[str, torch.Tensor]:
        """Takes one step of the hinge loss, and gives the mean logits before it."""
        self.discriminator.requires_grad_(True)
        logits = [self.discriminator(pictures) for pictures in (real, fake)]
        self._optimizer.zero_grad()
        (F.relu(1 - logits[0]).mean() + F.relu(1 + logits[1]).mean()).backward()
        self._optimizer.step()
        return {"logits_real": logits[0].mean().detach(), "logits_fake": logits[1].mean().detach()}


def main(
    stage_file: Annotated[Path, typer.Argument(metavar="STAGE", help="YAML file of the stage.")],
    data: Annotated[Path, typer.Option(help="YAML file with the data sources of every task.")],
    init_from: Annotated[str, typer.Option(help="Model to start from.")],
    output: Annotated[Path, typer.Option(help="Folder for logs and the final model.")],
    teacher: Annotated[str | None, typer.Option(help="Model that image embeddings are distilled from.")] = None,
    losses: Annotated[str | None, typer.Option(help="Parts of the image loss beside the discriminator's.")] = None,
    steps: Annotated[int | None, typer.Option(help="Number of steps. Default: that of the stage.")] = None,
    workers: Annotated[int, typer.Option(help="Processes that read samples.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of the data order, the samples and new weights.")] = 0,
) -> None:
    """Trains from the first step to the last, in one process."""
    stage = Stage.read(stage_file)
    image_losses = ImageLosses.choose(losses, stage.losses["image"])
    stage = replace(stage, losses={**stage.losses, "image": image_losses.weights}, steps=steps or stage.steps)
    begin(seed)
    model, processor = load_start(init_from)
    tower, scale = (None, 0.0) if teacher is None else load_teacher(teacher)
    trunk, clip = image_losses.load(None, CLIP)
    accelerator = build_accelerator(stage.optimizer.clip, "none", output)
    if accelerator.num_processes > 1:
        raise ValueError(f"num_processes must be 1 with a discriminator, got {accelerator.num_processes}")
    length = model.config.text_config.max_position_embeddings
    tasks, sources, sizes = stage.tasks, read_data(data), stage.batch_sizes
    limits, text = stage.limits, (processor.tokenizer, length)
    batches = open_tasks(tasks, sources, sizes, limits, *text, seed, 0, 1, workers, stage.step_tokens)
    prepare_model(model, stage, torch.Generator().manual_seed(seed))
    objective = AdversarialObjective(
        model=model,
        weights=stage.losses,
        teacher=tower,
        teacher_scale=scale,
        trunk=trunk,
        clip=clip,
        seed=seed,
        processor=processor,
    )
    turns = TurnBatches(batches, stage.ratios)
    # The only checkpoint comes with the last step.
    settings = TrainerSettings(output, stage.steps, stage.optimizer, save_every=stage.steps, log_every=5, keep=1)
    hooks = [ProtectedRows.load(init_from, accelerator.distributed_type), ProgressBar()]
    trainer = Trainer(accelerator, objective.to(accelerator.device), turns, settings, hooks)
    run_to_its_end(trainer, turns)


if __name__ == "__main__":
    typer.run(main)
