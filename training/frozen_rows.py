"""Rows of weights that a start wrote by hand and that training leaves alone, recorded beside the weights."""

from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import DistributedType
from safetensors.torch import load_file, save_file
from torch import nn

from .trainer import Hook

FILE = "protected_rows.safetensors"
_SHARDED = (DistributedType.FSDP, DistributedType.DEEPSPEED)


@dataclass
class ProtectedRows(Hook):
    """
    Keeps rows of weights as they are in training, and writes down which, so that the next stage keeps them, too.

    Attributes:
        rows: name of a parameter -> indices (K,) of its first dimension.
    """

    rows: dict[str, torch.Tensor]

    @classmethod
    def of(cls, model: nn.Module, rows: list[tuple[nn.Parameter, torch.Tensor]]) -> "ProtectedRows":
        """Takes rows of parameters of a model; several entries of one parameter are joined."""
        names = {parameter: name for name, parameter in model.named_parameters()}
        joined: dict[str, torch.Tensor] = {}
        for parameter, indices in rows:
            before = joined.get(names[parameter], indices[:0])
            joined[names[parameter]] = torch.cat([before, indices]).unique()
        return cls({name: indices for name, indices in joined.items() if len(indices)})

    @classmethod
    def load(cls, start: str, distributed_type: DistributedType = DistributedType.NO) -> "ProtectedRows":
        """
        Reads the rows of a start's folder; there are none where it has no such file.

        Raises:
            ValueError: there are some, but parameters are to be sharded.
        """
        path = Path(start) / FILE
        if not path.is_file():
            return cls({})
        if distributed_type in _SHARDED:
            raise ValueError(f"start must have no protected rows when parameters are sharded, got {path}; use DDP")
        return cls(load_file(path))

    def save(self, folder: Path) -> None:
        """Writes the rows beside a model, if there are any."""
        if self.rows:
            save_file(self.rows, folder / FILE)

    def before_clip(self, model: nn.Module) -> None:
        """Sets the gradients of the rows to 0."""
        if not self.rows:
            return
        parameters = dict(model.named_parameters())
        for name, indices in self.rows.items():
            gradient = parameters[name].grad
            if gradient is not None:
                gradient[indices.to(gradient.device)] = 0

    def on_export(self, folder: Path) -> None:
        """Writes the rows beside the exported model."""
        self.save(folder)
