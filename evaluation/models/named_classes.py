"""Models of others' code, by the name of their class: the door for what can be imported here."""

import hashlib
import importlib.util
import inspect
import pkgutil
import sys
from functools import partial
from importlib.metadata import packages_distributions, version
from pathlib import Path
from types import ModuleType
from typing import Any

from ..interface import (
    CaptionGenerator,
    Embedder,
    Generator,
    MediaTokenizer,
    Model,
    ObjectGenerator,
    ObjectTokenizer,
    Reconstructions,
)
from ..options import check_options

TOKENIZERS = (MediaTokenizer, ObjectTokenizer, Reconstructions)


def named_tokenizer(target: str, options: dict[str, Any] | None = None) -> Model:
    """
    Makes a tokenizer of a class that a configuration names; its code runs, so name only what you trust.

    Args:
        target: "package.module:Class", or "path/to/file.py:Class"; a subclass of `MediaTokenizer`, `ObjectTokenizer` or
            `Reconstructions` of `atoken.evaluation.interface`.
        options: arguments of the class.

    Raises:
        FileNotFoundError: there is no such file or module.
        ValueError: there is no such class in it, it is of another kind, or its options do not fit.
    """
    return _make(target, options or {}, TOKENIZERS)


def named_embedder(target: str, options: dict[str, Any] | None = None) -> Model:
    """
    Makes an embedder of a class that a configuration names: a subclass of `Embedder`.

    Arguments and errors are those of `named_tokenizer`.
    """
    return _make(target, options or {}, (Embedder,))


def named_generator(target: str, options: dict[str, Any] | None = None) -> Model:
    """
    Makes a generator of a class that a configuration names: a subclass of `Generator`, `CaptionGenerator` or
    `ObjectGenerator`.

    Arguments and errors are those of `named_tokenizer`.
    """
    return _make(target, options or {}, (Generator, CaptionGenerator, ObjectGenerator))


def _make(target: str, options: dict[str, Any], expected: tuple[type, ...]) -> Model:
    place, _, name = str(target).rpartition(":")
    if not place or not name.isidentifier():
        raise ValueError(f'target must be "package.module:Class" or "path/to/file.py:Class", got {target!r}')
    module = _from_file(Path(place)) if place.endswith(".py") else _from_path(place)
    found = getattr(module, name, None)
    kinds = " or ".join(kind.__name__ for kind in expected)
    if not (inspect.isclass(found) and issubclass(found, expected)):
        given = "no such name" if found is None else f"a {type(found).__name__} that is none"
        raise ValueError(f"target must be a subclass of {kinds} of atoken.evaluation.interface, got {target}: {given}")
    check_options(found, options, f"target {target}")
    model = found(**options)
    # Beside its own facts stands which code it was.
    model.describe = partial(_describe, model.describe, _origin(target, options, module))
    return model


def _describe(own: Any, origin: dict[str, Any]) -> dict[str, Any]:
    return {**own(), **origin}


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise FileNotFoundError(f"target must name a file that is there, got {path}")
    name = f"atoken_named_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    # Other processes get such models by pickle, and dataclasses look their module up.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _from_path(path: str) -> ModuleType:
    try:
        found = pkgutil.resolve_name(path)
    except (ImportError, AttributeError, ValueError) as error:
        raise FileNotFoundError(
            f"target must name a module that can be imported, got {path}: {error}; install it, or name a file"
        ) from error
    if not inspect.ismodule(found):
        raise ValueError(f"target must be the name of a module before the colon, got {path}")
    return found


def _origin(target: str, options: dict[str, Any], module: ModuleType) -> dict[str, Any]:
    file = Path(module.__file__) if getattr(module, "__file__", None) else None
    packages = packages_distributions().get(module.__name__.partition(".")[0], [])
    return {
        "target": target,
        "options": options,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest() if file else None,
        "packages": {name: version(name) for name in packages},
    }
