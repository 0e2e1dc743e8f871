"""The file that `atoken evaluate` takes: which tokenizers, on which sets, by which measures."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from .interface import TASKS
from .registry import EMBEDDERS, SETS, TOKENIZERS, check_options, find

MEASURES = ("psnr", "ssim", "lpips", "random-gram", "rfid", "inception-score", "precision-recall", "rfvd")


@dataclass(frozen=True)
class SetEntry:
    """One set of samples: its builder, the builder's options, and the task that is done on it."""

    name: str
    set: str
    task: str
    options: dict[str, Any]


@dataclass(frozen=True)
class ModelEntry:
    """One tokenizer or embedder: its adapter with options, and the sets it runs on (all that fit if empty)."""

    name: str
    adapter: str
    options: dict[str, Any]
    sets: tuple[str, ...] = ()


@dataclass(frozen=True)
class EvaluationConfig:
    """
    Attributes:
        title: of the page.
        measures: of reconstructions, some of `MEASURES`.
        weights: local files of the networks that measures need: "lpips", "rfid", "rfvd".
        chunk_size: samples that are written, and resumed, together.
    """

    title: str
    sets: tuple[SetEntry, ...]
    tokenizers: tuple[ModelEntry, ...] = ()
    embedders: tuple[ModelEntry, ...] = ()
    measures: tuple[str, ...] = ("psnr", "ssim")
    weights: dict[str, str] = field(default_factory=dict)
    chunk_size: int = 8
    device: str = "cpu"

    @classmethod
    def read(cls, path: Path) -> "EvaluationConfig":
        """
        Raises:
            ValueError: what is wrong in the file, with the entry's name.
        """
        try:
            values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise ValueError(f"{path} is not YAML: {error}") from error
        if not isinstance(values, dict):
            raise ValueError(f"{path}: expected a mapping with 'title' and 'sets', got {type(values).__name__}")
        unknown = set(values) - set(cls.__dataclass_fields__)
        if unknown:
            known = ", ".join(cls.__dataclass_fields__)
            raise ValueError(f"{path}: unknown {', '.join(sorted(map(str, unknown)))}; there are {known}")
        for needed in ("title", "sets"):
            if not values.get(needed):
                raise ValueError(f"{path}: {needed!r} is missing")
        values["sets"] = tuple(_set(name, entry) for name, entry in _mapping(values, "sets").items())
        for kind, table in (("tokenizers", TOKENIZERS), ("embedders", EMBEDDERS)):
            entries = _mapping(values, kind)
            values[kind] = tuple(_model(name, entry, table, kind) for name, entry in entries.items())
        values["measures"] = tuple(values.get("measures", ("psnr", "ssim")))
        config = cls(**values)
        config._check(path)
        return config

    def _check(self, path: Path) -> None:
        for measure in self.measures:
            if measure not in MEASURES:
                raise ValueError(f"{path}: measures: there is no {measure!r}; there are {', '.join(MEASURES)}")
        if not isinstance(self.chunk_size, int) or self.chunk_size < 1:
            raise ValueError(f"{path}: chunk_size must be a positive integer, got {self.chunk_size!r}")
        names = {entry.name for entry in self.sets}
        for model in (*self.tokenizers, *self.embedders):
            for name in model.sets:
                if name not in names:
                    raise ValueError(f"{path}: {model.name}: sets: there is no {name!r}; there are {', '.join(names)}")
        if not self.tokenizers and not self.embedders:
            raise ValueError(f"{path}: neither 'tokenizers' nor 'embedders' is given, so there is nothing to measure")


def _mapping(values: dict[str, Any], key: str) -> dict[str, Any]:
    entries = values.get(key, {})
    if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
        raise ValueError(f"{key}: expected a mapping from names to options, got {entries!r}")
    for name in entries:
        # Names become folders.
        if not isinstance(name, str) or not name or set(name) & set('/\\:*?"<>|') or name.startswith("."):
            raise ValueError(f"{key}: {name!r} cannot be the name of a folder")
    return entries


def _set(name: str, entry: dict[str, Any]) -> SetEntry:
    options = dict(entry)
    task, builder = options.pop("task", "reconstruction"), options.pop("set", None)
    if task not in TASKS:
        raise ValueError(f"sets: {name}: task must be one of {', '.join(TASKS)}, got {task!r}")
    check_options(find(SETS, builder, f"sets: {name}: set"), options, f"sets: {name}")
    return SetEntry(name, builder, task, options)


def _model(name: str, entry: dict[str, Any], table: dict[str, Callable[..., Any]], kind: str) -> ModelEntry:
    options = dict(entry)
    adapter, sets = options.pop("adapter", None), tuple(options.pop("sets", ()))
    check_options(find(table, adapter, f"{kind}: {name}: adapter"), options, f"{kind}: {name}")
    return ModelEntry(name, adapter, options, sets)
