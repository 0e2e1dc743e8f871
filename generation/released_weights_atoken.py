"""State dicts under released names, and how they get into our models."""

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

Source = str | Path | dict[str, torch.Tensor]


def read_state(source: Source, wrappers: tuple[str, ...], argument: str = "path") -> dict[str, torch.Tensor]:
    """
    Reads a state dict.

    Args:
        source: a file of safetensors or of `torch.save`, or the state dict itself.
        wrappers: names under one of which it may lie in a larger dictionary, the first found being taken.
        argument: name of `source` in the caller, for errors.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds something else.
    """
    if isinstance(source, dict):
        state: object = source
    else:
        path = Path(source)
        if not path.is_file():
            raise FileNotFoundError(f"{argument}: there is no file {path}")
        try:
            if path.suffix == ".safetensors":
                from safetensors.torch import load_file

                state = load_file(path)
            else:
                state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise ValueError(f"{argument}: {path} cannot be read as a checkpoint of tensors: {error}") from error
    for key in wrappers:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
            break
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ValueError(f"{argument} must hold a state dict of tensors, got something else")
    return {name.removeprefix("module."): value for name, value in state.items()}


def require_keys(state: dict[str, torch.Tensor], names: Sequence[str], argument: str = "path") -> None:
    """
    Checks that a state dict has what tells its kind and sizes.

    Raises:
        ValueError: a name is missing.
    """
    missing = [name for name in names if name not in state]
    if missing:
        raise ValueError(f"{argument}: this is no checkpoint of this generator, it lacks {', '.join(missing)}")


def depth_of(state: dict[str, torch.Tensor], blocks: str) -> int:
    """Counts blocks: one more than the largest number after `blocks` and a dot."""
    found = (re.match(rf"{blocks}\.(\d+)\.", name) for name in state)
    return 1 + max((int(match[1]) for match in found if match), default=-1)


def renamed(name: str, renames: list[tuple[str, str]]) -> str:
    """Applies patterns and their replacements in order."""
    for pattern, replacement in renames:
        name = re.sub(pattern, replacement, name)
    return name


def load_renamed(
    model: nn.Module,
    state: dict[str, torch.Tensor],
    renames: list[tuple[str, str]],
    computed: Sequence[str] = (),
    argument: str = "path",
) -> None:
    """
    Copies a released state dict into a model, each key into its place.

    Args:
        model: whose parameters are set.
        state: by released names.
        renames: from our names to the released ones.
        computed: released names that follow from sizes and are passed over.
        argument: name of the checkpoint in the caller, for errors.

    Raises:
        ValueError: a key is left over or missing (each is named), or a shape does not fit.
    """
    ours: dict[str, nn.Parameter] = dict(model.named_parameters())
    names = {name: renamed(name, renames) for name in ours}
    unexpected = sorted(state.keys() - set(names.values()) - set(computed))
    missing = sorted(set(names.values()) - state.keys())
    if unexpected or missing:
        raise ValueError(
            f"{argument} has keys without a place: {unexpected or 'none'}; and lacks keys: {missing or 'none'}"
        )
    for name, released in names.items():
        given, expected = tuple(state[released].shape), tuple(ours[name].shape)
        if given != expected:
            raise ValueError(f"{argument}: {released} must have shape {expected}, got {given}")
    with torch.no_grad():
        for name, released in names.items():
            ours[name].copy_(state[released])
