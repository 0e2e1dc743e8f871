"""The plan of an evaluation: which model runs on which set, and what decides the numbers. It holds no model."""

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from .captions import MADE, media_names
from .chunks import Chunks
from .configuration import EvaluationConfig, ModelEntry, SetEntry
from .generation import ADM_MEASURES, FEWEST_IMAGES
from .interface import CaptionGenerator, EvaluationSet, Generator, Model, Reconstructions
from .opened_measures import OpenedMeasures
from .opened_models import OpenedModels
from .pictured_objects import PICTURE_MEASURES
from .pictured_objects import PROTOCOL as PICTURE_PROTOCOL

LIBRARIES = ("torch", "torchvision", "torchmetrics", "transformers", "numpy", "pillow")
GENERATION_LIBRARIES = ("diffusers", "torch-fidelity")


@dataclass(frozen=True)
class Task:
    """
    Says what one model does on one set. No model is in it, so it can wait, and go to other processes.

    Attributes:
        entry, set_entry: the model and the set in the configuration.
        samples: what the set consists of.
        chunks: where the results go.
        codebook_sizes: those of the model.
        decodes: whether the model gives anything back that could be looked at.
        reference: of a generator, where the results of the set's own images go; all generators share them.
        made: the folder of what is made of captions or pictures.
    """

    entry: ModelEntry
    set_entry: SetEntry
    samples: EvaluationSet
    chunks: Chunks
    codebook_sizes: tuple[int, ...]
    decodes: bool
    reference: Chunks | None = None
    made: Path | None = None

    @property
    def name(self) -> str:
        """Names the task for people."""
        return f"{self.entry.name} on {self.set_entry.name}"

    @property
    def work(self) -> dict[str, Chunks]:
        """Gives the results to be had, by what people call the work on them."""
        if self.reference is None:
            return {self.name: self.chunks}
        return {f"images of {self.set_entry.name}": self.reference, f"images of {self.entry.name}": self.chunks}


def build_tasks(config: EvaluationConfig, models: OpenedModels, measures: OpenedMeasures, output: Path) -> list[Task]:
    """
    Opens every set and model, so that what is missing is known before any work. Nothing is written.

    Args:
        models: keeps the models, for the work.
        measures: those that were asked for.
        output: folder of the results.

    Raises:
        FileNotFoundError: a data set or the weights of a model are missing.
        ValueError: a set and a model, or a set and its task, do not fit.
    """
    sets = {entry.name: entry.open() for entry in config.sets}
    for set_entry in config.sets:
        _check_annotated(set_entry, sets[set_entry.name])
    libraries = {name: version(name) for name in LIBRARIES}
    tasks = []
    for entry in config.models:
        model = models[entry]
        described, fingerprints = model.describe(), model.fingerprints()
        fitting = [one for one in config.sets if _fits(entry, one, model, sets[one.name])]
        if not fitting:
            kinds, abilities = ", ".join(sorted(model.kinds)), ", ".join(sorted(model.tasks))
            raise ValueError(f"{entry.name} fits none of the sets: it takes {kinds} for {abilities}")
        for set_entry in fitting:
            samples = sets[set_entry.name]
            if isinstance(model, Reconstructions | CaptionGenerator):
                model.check(samples)
            if isinstance(model, Generator):
                tasks.append(_generation(entry, set_entry, model, samples, config, measures, output))
                continue
            named, networks = _measured_by(set_entry, samples, measures)
            facts = {
                "model": described,
                "options": entry.options,
                "set": {"name": set_entry.name, "checksum": samples.checksum, "protocol": samples.protocol},
                "task": set_entry.task,
                "measures": named,
                "libraries": libraries,
                "fingerprints": {"model": fingerprints, "measures": networks},
            }
            made = None
            if set_entry.task == "captions":
                facts["measured_by"] = measures.captions.describe()
            elif set_entry.task == "pictures":
                facts["measured_by"] = PICTURE_PROTOCOL
            if "measured_by" in facts:
                made = output / MADE / entry.name / set_entry.name
            folder = output / "chunks" / entry.name / set_entry.name
            chunks = Chunks(folder, facts, len(samples.samples), config.chunk_size)
            tasks.append(Task(entry, set_entry, samples, chunks, model.codebook_sizes, model.decodes, made=made))
    busy = {task.set_entry.name for task in tasks}
    idle = [entry.name for entry in config.sets if entry.name not in busy]
    if idle:
        raise ValueError(f"no model of the configuration fits {', '.join(idle)}")
    return tasks


def _measured_by(entry: SetEntry, samples: EvaluationSet, measures: OpenedMeasures) -> tuple[list[str], dict[str, str]]:
    """Gives the names of the measures of a set, and the fingerprints of their networks."""
    if entry.task == "reconstruction":
        return list(measures.compared.names), measures.compared.fingerprints()
    if entry.task == "captions":
        return list(measures.captions.fitting(samples)), measures.captions.fingerprints()
    return list(PICTURE_MEASURES) if entry.task == "pictures" else [], {}


def _generation(
    entry: ModelEntry,
    set_entry: SetEntry,
    model: Generator,
    samples: EvaluationSet,
    config: EvaluationConfig,
    measures: OpenedMeasures,
    output: Path,
) -> Task:
    """
    Plans the comparison of generated images with those of a set.

    Raises:
        ValueError: there are too few of either.
    """
    for name, count in ((entry.name, model.count), (set_entry.name, len(samples.samples))):
        if count < FEWEST_IMAGES:
            raise ValueError(f"{name} must have at least {FEWEST_IMAGES} images to compare, got {count}")
    libraries = {name: version(name) for name in (*LIBRARIES, *GENERATION_LIBRARIES)}
    same = {"task": set_entry.task, "measures": list(ADM_MEASURES), "libraries": libraries}
    described = {"name": set_entry.name, "checksum": samples.checksum, "protocol": samples.protocol}
    network = {"measures": measures.compared.fingerprints(generation=True)}
    fingerprints = {"model": model.fingerprints(), **network}
    facts = {"model": model.describe(), "options": entry.options, **same, "fingerprints": fingerprints}
    # Names of entries never begin with a dot. What was generated does not depend on the set.
    folder = output / "chunks"
    chunks = Chunks(folder / entry.name / ".images", facts, model.count, config.chunk_size)
    place = folder / ".sets" / set_entry.name
    reference = Chunks(
        place, {"set": described, **same, "fingerprints": network}, len(samples.samples), config.chunk_size
    )
    return Task(entry, set_entry, samples, chunks, (), False, reference)


def _check_annotated(entry: SetEntry, samples: EvaluationSet) -> None:
    if entry.task in ("classification", "projection"):
        without = sum(sample.label is None for sample in samples.samples)
        if not samples.class_names or without:
            given = f"{len(samples.class_names)} names and {without} samples without a label"
            raise ValueError(f"{entry.name} must have class names and labels for {entry.task}, got {given}")
    if entry.task == "classification" and not samples.templates:
        raise ValueError(f"{entry.name} must have templates for classification, got none")
    if entry.task == "captions":
        _check_captions(entry, samples)
    if entry.task == "pictures" and samples.kind != "object":
        raise ValueError(f"{entry.name} must be of objects for pictures, got {samples.kind}s")
    if entry.task != "captions" and not samples.has_media:
        raise ValueError(f"{entry.name} must have the task captions, as it has no media, got {entry.task}")
    if entry.task == "retrieval":
        without = sum(not sample.captions for sample in samples.samples)
        if without:
            raise ValueError(f"{entry.name} must have a caption of every sample for retrieval, got {without} without")


def _check_captions(entry: SetEntry, samples: EvaluationSet) -> None:
    if samples.kind == "object":
        raise ValueError(f"{entry.name} must be of images or videos for captions, got objects")
    without = sum(not sample.captions for sample in samples.samples)
    if without:
        raise ValueError(f"{entry.name} must have a caption of every sample for captions, got {without} without")
    names = media_names(samples)
    if len(set(names)) < len(names):
        raise ValueError(f"{entry.name} must have different names of samples, got {len(set(names))} of {len(names)}")


def _fits(entry: ModelEntry, one: SetEntry, model: Model, samples: EvaluationSet) -> bool:
    fits = samples.kind in model.kinds and one.task in model.tasks
    if one.task == "captions":
        fits = fits and model.decodes and (samples.has_media or isinstance(model, CaptionGenerator))
    if one.name in entry.sets and not fits:
        kinds, tasks = ", ".join(sorted(model.kinds)), ", ".join(sorted(model.tasks))
        raise ValueError(
            f"sets of {entry.name} must be of {kinds} for {tasks}, got {one.name}, of {samples.kind} for {one.task}"
        )
    return fits and (not entry.sets or one.name in entry.sets)
