"""A batch on its way to the process that trains: large tensors through shared memory, all else in one message.

Sent one by one, every tensor costs a file and a connection of its own, however small it is.
"""

import io
import pickle
from typing import Any

import torch

_LARGE = 2**20  # bytes from which copying costs more than a file

# Everything but the large tensors as bytes, and those.
Parcel = tuple[bytes, list[torch.Tensor]]


class _Packer(pickle.Pickler):
    def __init__(self, file: io.BytesIO):
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self.large: list[torch.Tensor] = []

    def persistent_id(self, obj: Any) -> int | None:
        if not isinstance(obj, torch.Tensor) or obj.nbytes < _LARGE:
            return None
        self.large.append(obj)
        return len(self.large) - 1

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, torch.Tensor) and obj.dtype != torch.bfloat16:  # which numpy does not have
            return torch.from_numpy, (obj.numpy(),)
        return NotImplemented


class _Unpacker(pickle.Unpickler):
    def __init__(self, content: bytes, large: list[torch.Tensor]):
        super().__init__(io.BytesIO(content))
        self._large = large

    def persistent_load(self, pid: int) -> torch.Tensor:
        return self._large[pid]


def packed(thing: Any) -> Parcel:
    """Takes the large tensors out of what can be pickled, and pickles the rest."""
    file = io.BytesIO()
    packer = _Packer(file)
    packer.dump(thing)
    return file.getvalue(), packer.large


def unpacked(content: bytes, large: list[torch.Tensor]) -> Any:
    """Gives what `packed` was given."""
    return _Unpacker(content, large).load()
