"""Goes on with the decoders of released weights: the encoder, and so all latents and codes, stay as they are.

    python -m atoken.training.recipes.tiny.decoders DATA OUT checkpoints/atoken-tiny --minutes 80

The decoder learns by `stages/tiny-decoders.yaml`, which needs `pip install "atoken[perceptual]"`, that of a discrete
model by `tiny-decoders-d.yaml`; then the Gaussian decoder by `train_gaussians`, from what the new decoder makes of
voxels, which is computed once for each object. Whatever was trained on the latents or embeddings stays valid, and a
third of a step's work is saved. Beside the media of the curriculum there are scenes of the miniature world, which the
tiny generators draw. The run goes on where it was stopped; OUT/stage-N/released, with N the stage of the weights,
becomes the checkpoint. Its record takes the numbers of understanding over from the checkpoint's, as no weight that they
depend on has changed.
"""

import json
from pathlib import Path
from typing import Annotated

import torch
import typer
import yaml
from safetensors.torch import load_file

from atoken import AtokenConfig

from ...tokenizer.curriculum import Stage
from ..text_files import write_text
from .between_stages import continued
from .curriculum import EVALUATION, HERE, PERCEPTION, RELEASED, localized, measure_released, run_gaussians, run_stage
from .evaluation_parts import drop_understanding
from .release import record_of, release, tables_of

# Sources beside those of the curriculum, with their size there.
SCENES = {
    "image_reconstruction": {"source": "miniature", "length": 200000, "size": 0.12},
    "video_reconstruction": {"source": "miniature", "length": 200000, "frames": 16, "size": 0.5},
}


def with_scenes(data_file: Path) -> None:
    """Adds the scenes to a data file of the curriculum."""
    sources = yaml.safe_load(data_file.read_text(encoding="utf-8"))
    for task, scenes in SCENES.items():
        sources[task].append(scenes)
    write_text(data_file, yaml.safe_dump(sources, sort_keys=False))


def check_the_rest_is_the_same(checkpoint: Path, released: Path, trained: tuple[str, ...]) -> None:
    """
    Compares all weights but those of the modules that were trained, bit by bit.

    Raises:
        ValueError: some differ.
    """
    before, after = (load_file(folder / "model.safetensors") for folder in (checkpoint, released))
    rest = [name for name in before if not name.startswith(tuple(f"{module}." for module in trained))]
    if changed := [name for name in rest if name not in after or not torch.equal(before[name], after[name])]:
        raise ValueError(f"released weights must have the encoder of {checkpoint}, but differ in {', '.join(changed)}")


def stage_of(checkpoint: Path) -> int:
    """Gives the stage that released weights are of: 4 if they have a quantizer, else 3."""
    return 3 if AtokenConfig.from_pretrained(checkpoint).quantizer_config is None else 4


def stage_file_of(stage: int) -> Path:
    """Gives the file by which the decoders of a stage's weights go on."""
    return HERE / ("stages/tiny-decoders.yaml" if stage == 3 else "stages/tiny-decoders-d.yaml")


def main(
    data: Annotated[Path, typer.Argument(help="Folder with photos, clips and objects.")],
    out: Annotated[Path, typer.Argument(help="Folder for the run.")],
    checkpoint: Annotated[Path, typer.Argument(help="Released weights of this recipe, of stage 3 or 4.")],
    minutes: Annotated[float | None, typer.Option(help="Time for steps, instead of their number.")] = None,
    gaussian_minutes: Annotated[float, typer.Option(help="Time for steps of the Gaussian decoder.")] = 30.0,
    device: Annotated[str, typer.Option(help='"cpu" or "cuda".')] = "cpu",
    processes: Annotated[int, typer.Option(help="That share every step.")] = 1,
    evaluate: Annotated[bool, typer.Option(help="Measure the result.")] = True,
    seed: Annotated[int, typer.Option()] = 0,
) -> None:
    """Runs what is not done yet."""
    stage = stage_of(checkpoint)
    folder = out / f"stage-{stage}"
    sources = localized(HERE / "sources/tiny.yaml", data, out / "sources.yaml")
    with_scenes(sources)
    if not (folder / "finished").is_file():
        continued(checkpoint, folder / "start")
        options = ["--seed", str(seed), "--save-every", "200", "--workers", "1"]
        if minutes is not None:
            options += ["--minutes", str(minutes)]
        run_stage(stage_file_of(stage), folder / "start", sources, folder, None, options, processes, device)
        (folder / "finished").touch()
    gaussians = folder / "gaussians"
    options = ["--start", str(folder / "model"), "--minutes", str(gaussian_minutes)]
    run_gaussians(data, folder / "model", gaussians, [*options, "--device", device, "--seed", str(seed)])
    if not evaluate or (out / "record.json").is_file():
        return
    release(gaussians, None, folder / RELEASED)
    learned = (*(Stage.read(stage_file_of(stage)).trained or ()), "gaussian_decoder")
    check_the_rest_is_the_same(checkpoint, folder / RELEASED, learned)
    before = json.loads((checkpoint / "training.json").read_text(encoding="utf-8"))["stages"][str(stage)]
    templates = [localized(path, data, out / path.name) for path in (EVALUATION, PERCEPTION)]
    understood = [name for template in templates for name in drop_understanding(template)]
    kept = {name: value for name, value in before.items() if name.split("/")[0] in understood}
    record = {str(stage): measure_released(stage, folder, templates) | kept}
    write_text(out / "record.md", tables_of(record))
    places = {str(data): "DATA", str(out): "OUT", str(checkpoint): f"checkpoints/{checkpoint.name}"}
    released = record_of(record, out, stage, places, stage_file_of, checkpoint, "decoders")
    released["gaussian_decoder"] = json.loads((gaussians / "training_3d.json").read_text(encoding="utf-8"))
    write_text(folder / RELEASED / "training.json", json.dumps(released, indent=1) + "\n")
    write_text(out / "record.json", json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
