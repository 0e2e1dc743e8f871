"""Ways of showing a video to the language model, compared: SlowFast on and off, single frames and clips."""

from pathlib import Path
from typing import Any

from atoken.mllm import AtokenLlavaForConditionalGeneration, AtokenLlavaProcessor

from ...mllm.stage import build_trainer, read_stage
from .conversations import conversations
from .features import DrawnFeatures
from .measuring import measure_all, seconds_of
from .parts import FIELDS, FRAMES, SIZE
from .training import STAGES, fill_features

STAGE = read_stage(STAGES / "other-settings.yaml")
PATCH = 16  # pixels of each side
COUNTS = {"clips": 1200, "orders": 600}
SETTINGS: dict[str, dict[str, Any]] = {
    "SlowFast, single frames": FIELDS,
    "all frames in detail": {"slow_frames": FRAMES, "slow_stride": 1, "fast_grid": (1, 1)},
    "SlowFast, four frames a token": {**FIELDS, "video_input": "clip"},
}


def compare_settings(start: Path, out: Path, count: int, timed: int = 32) -> list[dict[str, Any]]:
    """
    Lets a trained model learn each setting for as many steps, and measures it on videos.

    Args:
        start: folder of the model with its processor.
        out: folder for one folder a setting.
        count: held-out questions of each kind.
        timed: questions that are timed.

    Returns:
        For each setting "name", "fields", "tokens" of a clip, "seconds" of the processor for an answer, and "right",
        the share of right answers by measure.
    """
    lines = []
    for number, (name, fields) in enumerate(SETTINGS.items()):
        folder = out / f"setting-{number}"
        if not (folder / "model").is_dir():
            _learn(start, folder, fields)
        model = AtokenLlavaForConditionalGeneration.from_pretrained(folder / "model").eval()
        processor = AtokenLlavaProcessor.from_pretrained(folder / "model")
        measured = measure_all(model, processor, count, controls=False, media=("video",))
        side = SIZE // PATCH
        lines.append(
            {
                "name": name,
                "fields": fields,
                "steps": STAGE.max_steps,
                "tokens": model.config.token_counts.video(FRAMES, side, side),
                "seconds": seconds_of(model, processor, timed),
                "count": count,
                "right": {each["name"]: each["right"] for each in measured},
            }
        )
        print(lines[-1], flush=True)
    return lines


def setting_features(
    folder: Path, model: AtokenLlavaForConditionalGeneration, processor: AtokenLlavaProcessor
) -> DrawnFeatures:
    """Draws and encodes what a setting is learned from, except what is there."""
    features = DrawnFeatures(folder / "features")
    fill_features(COUNTS, features, model, processor)
    return features


def _learn(start: Path, folder: Path, fields: dict[str, Any]) -> None:
    model = AtokenLlavaForConditionalGeneration.from_pretrained(start, **fields)
    before = AtokenLlavaProcessor.from_pretrained(start)
    processor = AtokenLlavaProcessor.from_config(
        model.config,
        before.tokenizer,
        image_processor=before.image_processor,
        video_processor=before.video_processor,
    )
    features = setting_features(folder, model, processor)
    dataset = conversations(COUNTS, "all", dict.fromkeys(COUNTS, 1), processor, features)
    trainer = build_trainer(STAGE, model, processor, dataset, folder / "run", features)
    trainer.train()
    trainer.save_model(str(folder / "model"))
    processor.save_pretrained(folder / "model")
