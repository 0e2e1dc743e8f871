"""Models that options name."""

from typing import TYPE_CHECKING

from .errors import UsageError, naming
from .options import Device, Dtype

if TYPE_CHECKING:
    from atoken.tokenizing.autoencoders import LoadedAutoencoder
    from atoken.tokenizing.loading import LoadedModel


def load(name: str | None, device: Device, dtype: Dtype | None) -> "LoadedModel":
    """
    Loads the model of `--model` on `--device` in `--dtype`.

    Raises:
        UsageError: the device is not there.
        ValueError: there is no such model, or it is incomplete or damaged.
    """
    from atoken.tokenizing.loading import load_model

    device_name = chosen_device(device)
    with naming("--model"):
        return load_model(name, device_name, dtype.value if dtype else None)


def open_autoencoder(name: str, device: Device, dtype: Dtype | None) -> "LoadedAutoencoder":
    """
    Loads the autoencoder of `--autoencoder` on `--device` in `--dtype`.

    Raises:
        UsageError: the device is not there.
        ValueError: it is of another class.
        FileNotFoundError: there is none.
    """
    from atoken.tokenizing.autoencoders import load_autoencoder

    device_name = chosen_device(device)
    with naming("--autoencoder"):
        return load_autoencoder(name, device_name, dtype.value if dtype else None)


def chosen_device(device: Device) -> str:
    """
    Gives the device of `--device`, "cuda" or "cpu".

    Raises:
        UsageError: it is not there.
    """
    from atoken.tokenizing.loading import resolve_device

    try:
        return resolve_device(device.value)
    except ValueError as error:
        raise UsageError(f"--device: {error}") from error
