"""The file of an evaluation: which tokenizers, embedders and generators, on which sets, by which measures."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .caption_measures import CAPTION_MEASURES
from .interface import TASKS, EvaluationSet, Model
from .options import check_options, find
from .registry import EMBEDDERS, GENERATORS, REPORTS, TOKENIZERS
from .results import Result
from .set_registry import SETS
from .yaml_files import read_yaml

ADAPTERS = {"tokenizers": TOKENIZERS, "embedders": EMBEDDERS, "generators": GENERATORS}
MEASURES = (
    "psnr",
    "ssim",
    "lpips",
    "st-lpips-vgg",
    "st-lpips-alex",
    "random-gram",
    "rfid",
    "fd-lite0",
    "inception-score",
    "precision-recall",
    "rfvd",
    *CAPTION_MEASURES,
)


@dataclass(frozen=True)
class SetEntry:
    """Holds one set of samples: its builder, the builder's options, and the task that is done on it."""

    name: str
    set: str
    task: str
    options: dict[str, Any]

    def open(self) -> EvaluationSet:
        """
        Lists the samples.

        Raises:
            FileNotFoundError: the data are not there.
            ValueError: an option is wrong.
        """
        return find(SETS, self.set, self.name)(**self.options)


@dataclass(frozen=True)
class ModelEntry:
    """
    Holds one tokenizer, embedder or generator.

    Attributes:
        role: "tokenizers", "embedders" or "generators"; names are unique within a role.
        name: how tables call it.
        adapter, options: what loads it.
        sets: names of those it runs on; all that fit if empty.
    """

    role: str
    name: str
    adapter: str
    options: dict[str, Any]
    sets: tuple[str, ...] = ()

    def open(self) -> Model:
        """
        Loads the model.

        Raises:
            FileNotFoundError: it is not there.
            ValueError: an option is wrong, or the model cannot be used.
        """
        return find(ADAPTERS[self.role], self.adapter, self.name)(**self.options)


@dataclass(frozen=True)
class ReportEntry:
    """
    Holds a file of numbers that another environment has written.

    Attributes:
        name: of the entry.
        model: how tables call the model that was measured.
        adapter, options: what reads it.
    """

    name: str
    model: str
    adapter: str
    options: dict[str, Any]

    def read(self) -> list[Result]:
        """
        Reads the numbers.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is another file, or lacks what numbers depend on.
        """
        try:
            found = find(REPORTS, self.adapter, self.name)(**self.options)
        except (FileNotFoundError, ValueError) as error:
            kind = FileNotFoundError if isinstance(error, FileNotFoundError) else ValueError
            raise kind(f"reports: {self.name}: {error}") from error
        return [replace(result, model=self.model) for result in found]


@dataclass(frozen=True)
class EvaluationConfig:
    """
    Holds what a configuration file says.

    Attributes:
        title: stands above the page.
        sets: what is measured on.
        tokenizers, embedders, generators: what is measured.
        reports: what others have measured.
        measures: how reconstructions are compared, and how well what is made of captions fits them, some of `MEASURES`.
        weights: local files of the networks that measures need: "lpips", "st-lpips-vgg",
            "st-lpips-alex", "rfid" (also for generators), "fd-lite0", "rfvd"; folders or names of models of
            "clip-score", "pick-score" and "words-zero-shot".
        chunk_size: samples that are written, and resumed, together.
        device: where the networks of measures run.
    """

    title: str
    sets: tuple[SetEntry, ...]
    tokenizers: tuple[ModelEntry, ...] = ()
    embedders: tuple[ModelEntry, ...] = ()
    generators: tuple[ModelEntry, ...] = ()
    reports: tuple[ReportEntry, ...] = ()
    measures: tuple[str, ...] = ("psnr", "ssim")
    weights: dict[str, str] = field(default_factory=dict)
    chunk_size: int = 8
    device: str = "cpu"

    @property
    def models(self) -> tuple[ModelEntry, ...]:
        """Lists all tokenizers, embedders and generators."""
        return (*self.tokenizers, *self.embedders, *self.generators)

    @property
    def comparing_measures(self) -> tuple[str, ...]:
        """Lists the measures of reconstructions."""
        return tuple(name for name in self.measures if name not in CAPTION_MEASURES)

    @property
    def caption_measures(self) -> tuple[str, ...]:
        """Lists the measures of what is made of captions."""
        return tuple(name for name in self.measures if name in CAPTION_MEASURES)

    @classmethod
    def read(cls, path: Path) -> "EvaluationConfig":
        """
        Reads a YAML file and checks all names and options in it.

        Raises:
            ValueError: what is wrong in the file, with the entry's name.
        """
        values = read_yaml(path, "configuration")
        try:
            return cls._from_values(values)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    @classmethod
    def _from_values(cls, values: Any) -> "EvaluationConfig":
        if not isinstance(values, dict):
            raise ValueError(f"configuration must be a mapping with 'title' and 'sets', got {type(values).__name__}")
        unknown = set(values) - set(cls.__dataclass_fields__)
        if unknown:
            known = ", ".join(cls.__dataclass_fields__)
            raise ValueError(f"keys must be among {known}, got {', '.join(sorted(map(str, unknown)))}")
        for needed in ("title",) if values.get("reports") else ("title", "sets"):
            if not values.get(needed):
                raise ValueError(f"{needed!r} must be given, got {values.get(needed)!r}")
        values["sets"] = tuple(_set(name, entry) for name, entry in _mapping(values, "sets").items())
        for role in ADAPTERS:
            values[role] = tuple(_model(role, name, entry) for name, entry in _mapping(values, role).items())
        values["reports"] = tuple(_report(name, entry) for name, entry in _mapping(values, "reports").items())
        values["measures"] = tuple(values.get("measures", ("psnr", "ssim")))
        config = cls(**values)
        config._check()
        return config

    def _check(self) -> None:
        for measure in self.measures:
            if measure not in MEASURES:
                raise ValueError(f"measures must be among {', '.join(MEASURES)}, got {measure!r}")
        if not isinstance(self.chunk_size, int) or self.chunk_size < 1:
            raise ValueError(f"chunk_size must be a positive integer, got {self.chunk_size!r}")
        names = [entry.name for entry in self.sets]
        for model in self.models:
            for name in model.sets:
                if name not in names:
                    raise ValueError(f"{model.role}: {model.name}: sets must be among {', '.join(names)}, got {name!r}")
        if not self.models and (self.sets or not self.reports):
            raise ValueError(
                "'tokenizers', 'embedders' or 'generators' must be given, got none, so there is nothing to measure"
            )
        if self.caption_measures and not any(entry.task == "captions" for entry in self.sets):
            raise ValueError(
                f"measures must have a set with task: captions for {', '.join(self.caption_measures)}, got none"
            )


def _mapping(values: dict[str, Any], key: str) -> dict[str, Any]:
    entries = values.get(key, {})
    if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
        raise ValueError(f"{key} must be a mapping from names to options, got {entries!r}")
    for name in entries:
        # Names become folders.
        if not isinstance(name, str) or not name or set(name) & set('/\\:*?"<>|') or name.startswith("."):
            raise ValueError(f"names in {key} must be fit for a folder, got {name!r}")
    return entries


def _set(name: str, entry: dict[str, Any]) -> SetEntry:
    options = dict(entry)
    task, builder = options.pop("task", "reconstruction"), options.pop("set", None)
    if task not in TASKS:
        raise ValueError(f"sets: {name}: task must be one of {', '.join(TASKS)}, got {task!r}")
    check_options(find(SETS, builder, f"sets: {name}: set"), options, f"sets: {name}")
    return SetEntry(name, builder, task, options)


def _model(role: str, name: str, entry: dict[str, Any]) -> ModelEntry:
    options = dict(entry)
    adapter, sets = options.pop("adapter", None), tuple(options.pop("sets", ()))
    check_options(find(ADAPTERS[role], adapter, f"{role}: {name}: adapter"), options, f"{role}: {name}")
    return ModelEntry(role, name, adapter, options, sets)


def _report(name: str, entry: dict[str, Any]) -> ReportEntry:
    options = dict(entry)
    adapter, model = options.pop("adapter", None), options.pop("model", name)
    if not isinstance(model, str) or not model:
        raise ValueError(f"reports: {name}: model must be a name, got {model!r}")
    check_options(find(REPORTS, adapter, f"reports: {name}: adapter"), options, f"reports: {name}")
    return ReportEntry(name, model, adapter, options)
