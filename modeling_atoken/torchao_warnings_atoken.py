"""Keeps three warnings off the screen that torchao sets off when transformers and diffusers import it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

# Logger -> parts of the messages that say only that torchao and the torch or diffusers beside it are of other times.
_MESSAGES = {
    "torch.utils._pytree": ("<enum 'KernelPreference'>", "<enum 'ScaleCalculationMode'>"),
    "diffusers.quantizers.torchao.torchao_quantizer": ("Unable to import `torchao` Tensor objects.",),
}


@contextmanager
def without_torchao_warnings() -> Iterator[None]:
    """Drops exactly these messages while it lasts."""

    def is_wanted(record: logging.LogRecord) -> bool:
        return not any(part in record.getMessage() for part in _MESSAGES[record.name])

    for name in _MESSAGES:
        logging.getLogger(name).addFilter(is_wanted)
    try:
        yield
    finally:
        for name in _MESSAGES:
            logging.getLogger(name).removeFilter(is_wanted)
