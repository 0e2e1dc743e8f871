"""What becomes of a stage's model before the next stage: latents that grow, Gaussians, codes; or released weights."""

from pathlib import Path

import torch

from atoken import AtokenModel
from atoken.gaussian_conversion_atoken import attach_gaussian_decoder
from atoken.processing import AtokenProcessor

from ...data.batches import TrainingBatch
from ...frozen_rows import ProtectedRows
from ...tokenizer.curriculum import grow_latents
from .dead_rows import fill_dead_rows
from .fsq_allocation import measure, plan
from .fsq_blocks import add_blocks, moved_name
from .local_averages import protect_looks
from .pca_start import spare_channels


def copy_rows(source: Path, target: Path) -> None:
    """Writes the protected rows beside one model beside another, if there are any."""
    ProtectedRows.load(str(source)).save(target)


def widen(model_folder: Path, template: Path, out: Path) -> None:
    """Writes stage 1's model with the latents of the wide start, as stage 2 begins."""
    model = AtokenModel.from_pretrained(model_folder, dtype=torch.float32)
    wide = AtokenModel.from_pretrained(template, dtype=torch.float32)
    grow_latents(model, wide.config.latent_channels, template=wide)
    _write(model, model_folder, out)
    copy_rows(model_folder, out)


def with_gaussians(model_folder: Path, gaussians: Path, out: Path) -> None:
    """Writes stage 2's model with a Gaussian decoder of `train_gaussians` for stage 3, which leaves its looks alone."""
    model = AtokenModel.from_pretrained(model_folder, dtype=torch.float32)
    attach_gaussian_decoder(model, AtokenModel.from_pretrained(gaussians, dtype=torch.float32).gaussian_decoder)
    _write(model, model_folder, out)
    protect_looks(model, model_folder, out)


def with_codes(model_folder: Path, batches: list[TrainingBatch], out: Path, seed: int) -> None:
    """
    Writes stage 3's model for stage 4.

    Where it has spare channels, blocks on either side spread codes over its latents; else FSQ rounds them as they are,
    which the training of the stage sets up.

    Args:
        batches: of every task of reconstruction, that latents are measured by.
    """
    torch.manual_seed(seed)
    model = AtokenModel.from_pretrained(model_folder, dtype=torch.float32).eval()
    recorded = ProtectedRows.load(str(model_folder)).rows
    if "decoder.input_layer.weight" not in recorded:  # it began without switches and spare channels
        _write(model, model_folder, out)
        copy_rows(model_folder, out)
        return
    # The first latent tells images from videos, see `indicator_first`.
    coding = plan(*measure(model, batches), model.config.latent_channels, switches=(0,))
    discrete, rows = add_blocks(model, coding, spare_channels(recorded))
    fill_dead_rows(discrete, seed)
    _write(discrete, model_folder, out)
    kept = {moved_name(name): indices for name, indices in recorded.items()}
    parameters = dict(discrete.named_parameters())
    ProtectedRows.of(discrete, [(parameters[name], indices) for name, indices in kept.items()] + rows).save(out)


def continued(checkpoint: Path, out: Path) -> None:
    """
    Writes released weights as the start of a stage.

    Raises:
        FileNotFoundError: the checkpoint does not say which rows were written by hand.
    """
    if not ProtectedRows.load(str(checkpoint)).rows:
        raise FileNotFoundError(
            f"checkpoint must have its protected_rows.safetensors beside its weights, got {checkpoint} without; "
            "weights of this recipe are released with it"
        )
    model = AtokenModel.from_pretrained(checkpoint, dtype=torch.float32)
    fill_dead_rows(model)
    _write(model, checkpoint, out)
    copy_rows(checkpoint, out)


def _write(model: AtokenModel, source: Path, out: Path) -> None:
    model.save_pretrained(out)
    AtokenProcessor.from_pretrained(source).save_pretrained(out)
