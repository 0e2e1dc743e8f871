"""The tiny text-to-media generator from nothing: scenes with captions, latents, images, then videos grown of them.

    python -m atoken.training.recipes.tiny_text_to_media.run OUT

It goes on where it was stopped. OUT/released/text-to-media-tiny is a pipeline of diffusers with its record, to be put
beside the tokenizer that its link leads to; OUT/image-samples.png and video-samples.png show what it makes.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from atoken.evaluation.metrics.scene_judges import CLIPS, MOTION, SceneJudges, load_scene_judges
from atoken.evaluation.models.atoken_tokenizers import AtokenEmbedder
from atoken_headers.model_folders import CHECKPOINTS

from ..text_files import write_text
from .card import card_of
from .clip_judge import train_clip_judge
from .corpora import write_latents, write_scenes
from .measures import as_facts
from .measuring import choose, measure
from .motion_judge import train_motion_judge
from .release import NAME, RECORD, TOKENIZER, release, rounded, training_facts
from .sampling import open_pipeline, sample
from .training import train
from .worlds import KINDS, MEASURED, caption_of, measured_scenes

# Clips that a judge learns of, and how often all of them.
JUDGES = {CLIPS: (train_clip_judge, 4096, 6), MOTION: (train_motion_judge, 2560, 12)}
PROTOCOL = (
    "Right: color and shape by networks trained on other scenes, one for images and one for clips, which sums over "
    "every second frame, motion by another one over frames, counted over samples. Ceiling: the same new scenes as "
    "drawn, through the tokenizer. Zero-shot: by atoken-tiny's own text tower, which sees a clip as a whole. Weights "
    "rounded to bf16, run in fp32"
)


def compare_with_scratch(
    out: Path, grown: Path, scratch: Path, count: int, settings: dict[str, Any], judges: SceneJudges
) -> dict[str, Any]:
    """
    Judges clips of two trainings on videos of as many steps: one begun with the weights for images, one from nothing.

    Returns:
        By "grown" and "from_scratch" the last loss of clips, and the shares that are right.
    """
    scenes = measured_scenes("video", "held_out", count)
    captions, found = [caption_of(scene) for scene in scenes], {}
    for name, trained in (("grown", grown), ("from_scratch", scratch)):
        pipeline = open_pipeline(trained / "model", CHECKPOINTS / TOKENIZER)
        made = sample(pipeline, captions, "video", MEASURED, **settings)
        facts = training_facts(trained, "videos")
        loss = facts["curve"][-1].get("video loss")
        found[name] = {"steps": facts["steps"], "loss": loss, **as_facts(scenes, judges.judged(made, "video"))}
    return found


def conclude(out: Path, counts: dict[str, int], facts: dict[str, Any], arms: tuple[Path, Path] | None) -> None:
    """Releases the trained generator, measures it, and writes its record and card, unless that is done."""
    released, tokenizer, trained = out / "released" / NAME, CHECKPOINTS / TOKENIZER, out / "video-stage/model"
    if (released / RECORD).is_file():
        return
    judges = load_scene_judges(out)
    choices = {}
    for kind in KINDS:
        choices[kind] = choose(open_pipeline(trained, tokenizer), kind, judges)
        print(f"{kind}: " + json.dumps(choices[kind]), flush=True)
    sampling = {kind: choices[kind][0]["settings"] for kind in KINDS}
    if not released.is_dir():
        release(open_pipeline(trained, tokenizer, sampling), out / "released" / NAME)
    rounded_weights = open_pipeline(trained, tokenizer, sampling)
    _round_to_bf16(rounded_weights)
    embedder, record = AtokenEmbedder(str(tokenizer), video="whole"), dict(facts)
    record["weights"] = rounded_weights.transformer.num_parameters()
    for kind in KINDS:
        measured = measure(rounded_weights, kind, counts[kind], sampling[kind], judges, embedder, out)
        record[kind] = {"sampling": sampling[kind], "choices": choices[kind], **measured}
        print(f"{kind}: " + json.dumps(rounded({name: measured[name] for name in ("samples", "ceiling")})), flush=True)
    if arms is not None:
        record["arms"] = compare_with_scratch(out, *arms, counts["video"], sampling["video"], judges)
    record["image_stage"] = training_facts(out / "image-stage", "images")
    record["video_stage"] = training_facts(out / "video-stage", "videos")
    record = rounded(record)
    write_text(released / "README.md", card_of(record))
    write_text(released / RECORD, json.dumps(record, indent=1) + "\n")


def main(
    out: Annotated[Path, typer.Argument(help="Folder for all of it.")],
    image_steps: Annotated[int, typer.Option(help="Steps of the training on images.")] = 4000,
    video_steps: Annotated[int, typer.Option(help="Steps of the training on videos.")] = 40000,
    arm_steps: Annotated[
        int, typer.Option(help="Steps of two short trainings on videos, one of them from nothing; 0 for none.")
    ] = 0,
    images: Annotated[int, typer.Option(help="Images that are learned of.")] = 6144,
    videos: Annotated[int, typer.Option(help="Clips that are learned of.")] = 6144,
    image_samples: Annotated[int, typer.Option(help="Images that are measured.")] = 480,
    video_samples: Annotated[int, typer.Option(help="Clips that are measured.")] = 192,
    seed: Annotated[int, typer.Option(help="Of the trainings.")] = 0,
) -> None:
    """Does what is not done yet."""
    tokenizer = CHECKPOINTS / TOKENIZER
    corpora = {kind: out / f"{kind}s" for kind in KINDS}
    write_scenes(out / "image.parquet", "image", images)
    write_latents(out / "image.parquet", "image", tokenizer, corpora["image"])
    of_images = train(out, "image-stage", tokenizer, {"image": corpora["image"]}, "images", image_steps, seed=seed)
    write_scenes(out / "video.parquet", "video", videos)
    write_latents(out / "video.parquet", "video", tokenizer, corpora["video"])
    train(out, "video-stage", tokenizer, corpora, "videos", video_steps, of_images, seed)
    arms = None
    if arm_steps:
        train(out, "grown-arm", tokenizer, corpora, "videos", arm_steps, of_images, seed)
        train(out, "scratch-arm", tokenizer, corpora, "videos", arm_steps, None, seed)
        arms = out / "grown-arm", out / "scratch-arm"
    for name, (train_judge, clips, epochs) in JUDGES.items():
        if not (out / name).is_file():
            for epoch, loss in enumerate(train_judge(out / name, clips, epochs)):
                print(f"{name}: epoch {epoch + 1} of {epochs}, loss {loss:.4f}", flush=True)
    facts = {
        "command": "python -m atoken.training.recipes.tiny_text_to_media.run OUT "
        f"--image-steps {image_steps} --video-steps {video_steps}" + (f" --arm-steps {arm_steps}" if arm_steps else ""),
        "tokenizer": TOKENIZER,
        "data": {"images": images, "videos": videos},
        "protocol": PROTOCOL,
    }
    conclude(out, {"image": image_samples, "video": video_samples}, facts, arms)


def _round_to_bf16(pipeline: Any) -> None:
    for part in (pipeline.transformer, pipeline.text_encoder):
        part.bfloat16().float()


if __name__ == "__main__":
    typer.run(main)
