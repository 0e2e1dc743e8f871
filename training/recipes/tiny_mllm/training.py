"""The stages of the tiny model, each resumable and bounded in time."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from atoken.mllm import AtokenLlavaForConditionalGeneration, AtokenLlavaProcessor
from atoken.tokenizing.files import NewFolder

from ...mllm.checkpoints import last_whole_checkpoint
from ...mllm.collator import ConversationCollator
from ...mllm.stage import build_trainer, read_stage
from .conversations import conversations
from .features import DrawnFeatures
from .parts import build_parts
from .subjects import subject_of
from .time_bound import TimeBound
from .watching import Watch, watched_rows

STAGES = Path(__file__).parent / "stages"
WATCH_EVERY = 100  # steps


@dataclass(frozen=True)
class Part:
    """
    Describes a stage of this recipe.

    Attributes:
        name: of its stage file and folder.
        visits: kind of subject -> conversations about each in an epoch.
        turns: one of `TURNS`.
        share: of the whole time.
        media: that are watched.
    """

    name: str
    visits: Mapping[str, int]
    turns: str
    share: float
    media: tuple[str, ...]


PARTS: tuple[Part, ...] = (
    Part("images", {"pictures": 1}, "open", 0.25, ("image",)),
    # About as many conversations about videos as about images.
    Part("images-and-videos", {"pictures": 1, "pairs": 1, "clips": 2, "orders": 2}, "all", 0.75, ("image", "video")),
)


def fill_features(
    counts: Mapping[str, int],
    features: DrawnFeatures,
    model: AtokenLlavaForConditionalGeneration,
    processor: AtokenLlavaProcessor,
) -> None:
    """Draws and encodes the media of subjects, except those that are there."""
    features.refresh()
    for kind, count in counts.items():
        missing = (
            subject
            for subject in (subject_of(kind, index) for index in range(count))
            if subject.names[-1] not in features
        )
        features.fill(
            (
                (name, subject.medium, pixels)
                for subject in missing
                for name, pixels in zip(subject.names, subject.draw(), strict=True)
            ),
            model,
            processor,
        )


def train_all(
    out: Path,
    counts: Mapping[str, int],
    minutes: float,
    seed: int,
    untrained_tower: bool = False,
) -> Path:
    """
    Trains both stages in `out`, or goes on with them.

    Args:
        out: folder of all that is made: start, features, and a folder for each stage.
        counts: kind of subject -> how many.
        minutes: of the steps of both stages together.
        seed: of new weights.
        untrained_tower: whether the encoder has new weights, too.

    Returns:
        The folder of the trained model with its processor.
    """
    model, processor = build_parts(seed, untrained_tower)
    start = out / "start"
    if not start.is_dir():
        with NewFolder(start) as new:
            model.save_pretrained(new)
            processor.save_pretrained(new)
    features = DrawnFeatures(out / "features")
    for part in PARTS:
        fill_features({kind: counts[kind] for kind in part.visits}, features, model, processor)
        train_part(part, start, out / part.name, counts, features, part.share * minutes)
        start = out / part.name / "model"
    return start


def train_part(
    part: Part,
    start: Path,
    out: Path,
    counts: Mapping[str, int],
    features: DrawnFeatures,
    minutes: float,
) -> None:
    """
    Trains a stage from the model in `start` to out/model, or goes on with it, unless it is done.

    Args:
        start: folder of a model with its processor.
        out: folder of checkpoints, curve and model.
        counts: kind of subject -> how many.
        features: of all subjects, and of the watched questions.
        minutes: of the stage.
    """
    if (out / "model").is_dir():
        return
    model = AtokenLlavaForConditionalGeneration.from_pretrained(start)
    processor = AtokenLlavaProcessor.from_pretrained(start)
    stage = read_stage(STAGES / f"{part.name}.yaml")
    dataset = conversations({kind: counts[kind] for kind in part.visits}, part.turns, part.visits, processor, features)
    print(f"{part.name}: {len(dataset)} conversations, {minutes:g} minutes", flush=True)
    out.mkdir(parents=True, exist_ok=True)
    clock = TimeBound(minutes, stage.learning_rate, out / "time.json", stage.warmup)
    watch = Watch(
        watched_rows(features, model, processor, part.media),
        ConversationCollator(processor, features),
        out / "curve.jsonl",
        WATCH_EVERY,
        clock,
    )
    trainer = build_trainer(stage, model, processor, dataset, out, features, [clock, watch])
    trainer.train(resume_from_checkpoint=last_whole_checkpoint(out))
    (out / "log.json").write_text(json.dumps(trainer.state.log_history), encoding="utf-8")
    with NewFolder(out / "model") as new:
        trainer.save_model(str(new))
        processor.save_pretrained(new)
