"""`atoken generate`: images of classes, images and clips of texts, and 3D objects of pictures."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from atoken_headers.generator_folders import IMAGE_TO_OBJECT, LIGHTNING_DIT, TEXT_TO_MEDIA, TOKEN_BRIDGE

from .console import print_json, say, tell
from .errors import UsageError, naming
from .generate_object import ObjectOutputs, check_object_options, generate_object
from .jobs import check_output_folder
from .loading import chosen_device
from .options import AsJson, Device, DeviceName, Dtype, DtypeName
from .shards import shard_of


class Schedule(StrEnum):
    linear = "linear"
    constant = "constant"


# Settings of the pipelines, by their options.
SETTINGS = {
    "num_inference_steps": "--steps",
    "guidance_scale": "--guidance",
    "guidance_channels": "--guidance-channels",
    "guidance_start": "--guidance-start",
    "guidance_schedule": "--guidance-schedule",
    "shift": "--shift",
    "temperature": "--temperature",
}
OF_TEXTS = {"num_inference_steps", "guidance_scale", "shift"}  # those that generators of texts have too


def generate(
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Folder to write to, created if missing, or a file: see above."),
    ],
    classes: Annotated[
        list[str] | None,
        typer.Option(
            "--class",
            metavar="NAME|NUMBER",
            help="Class to generate; may be repeated. Default: all classes in turn.",
            show_default=False,
        ),
    ] = None,
    texts: Annotated[
        list[str] | None,
        typer.Option(
            "--text",
            help="Text to make an image or a clip of; may be repeated.",
            show_default=False,
        ),
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option(
            "--frames",
            min=1,
            help="With --text: frames of a clip. Default: 16 for .mp4, else 1, which is an image.",
            show_default=False,
        ),
    ] = None,
    height: Annotated[
        int | None,
        typer.Option("--height", min=1, help="With --text: pixels. Default: the model's.", show_default=False),
    ] = None,
    width: Annotated[
        int | None,
        typer.Option("--width", min=1, help="With --text: pixels. Default: the model's.", show_default=False),
    ] = None,
    fps: Annotated[float, typer.Option("--fps", min=0.001, help="With --text: frames per second of clips.")] = 8.0,
    image: Annotated[
        list[Path] | None,
        typer.Option(
            "--image",
            help="Picture with alpha of an object to make in 3D; may be repeated for several pictures of it.",
            show_default=False,
        ),
    ] = None,
    mask: Annotated[
        list[Path] | None,
        typer.Option(
            "--mask", help="With --image: picture that is white where the object is, one for each.", show_default=False
        ),
    ] = None,
    turntable: Annotated[
        Path | None,
        typer.Option(
            "--turntable", help="With --image: video to write, whose camera circles the object.", show_default=False
        ),
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option("--page", help="With --image: HTML page to write, where the mouse turns it.", show_default=False),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(
            "--count",
            "-n",
            min=1,
            help="Number of images or clips; several classes or texts take turns. Default: 16 with classes, one for "
            "each text.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="Folder of a generator's pipeline, Hub name, or name of an embedded one: "
            f"{LIGHTNING_DIT} (the default) or {TOKEN_BRIDGE}; with --text {TEXT_TO_MEDIA}, with --image "
            f"{IMAGE_TO_OBJECT}.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Image I depends on this, its class and I, and on nothing else.")
    ] = 0,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Steps of sampling. Default: the model's.", show_default=False)
    ] = None,
    guidance: Annotated[
        float | None,
        typer.Option(
            "--guidance",
            min=0,
            help="How strongly to follow the class, text or picture; 1 is without guidance. Default: the model's.",
            show_default=False,
        ),
    ] = None,
    guidance_channels: Annotated[
        int | None,
        typer.Option(
            "--guidance-channels",
            min=1,
            help="Lightning-DiT: guide only so many channels, from the first on. Default: all.",
            show_default=False,
        ),
    ] = None,
    guidance_start: Annotated[
        float | None,
        typer.Option(
            "--guidance-start",
            min=0,
            max=1,
            help="Lightning-DiT: time at which guidance begins, from 0 (noise) to 1 (image). Default: the model's.",
            show_default=False,
        ),
    ] = None,
    guidance_schedule: Annotated[
        Schedule | None,
        typer.Option(
            "--guidance-schedule",
            help="TokenBridge: whether guidance rises while positions are drawn. Default: the model's.",
            show_default=False,
        ),
    ] = None,
    shift: Annotated[
        float | None,
        typer.Option(
            "--shift",
            help="1 is for even steps. More of them near noise: Lightning-DiT below 1, with --text or --image above 1. "
            "Default: the model's.",
            show_default=False,
        ),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(
            "--temperature",
            min=0,
            help="TokenBridge: 0 always takes the most likely code. Default: the model's.",
            show_default=False,
        ),
    ] = None,
    npz: Annotated[
        bool,
        typer.Option(
            "--npz", help="Write the images as one .npz file, too, as the evaluator of ADM (guided-diffusion) reads it."
        ),
    ] = False,
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, help="Images at a time; they do not depend on it.")
    ] = 8,
    processes: Annotated[
        int, typer.Option("--processes", min=1, help="Processes side by side; with GPUs, each takes the next one.")
    ] = 1,
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard",
            metavar="I/N",
            help="Which of N machines with one output folder this is, from 0. Default: from SLURM_ARRAY_TASK_ID or "
            "RANK and WORLD_SIZE.",
            show_default=False,
        ),
    ] = None,
    device: DeviceName = Device.auto,
    dtype: DtypeName = Dtype.float32,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what the output holds of other settings.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """
    Generate images of classes, images and clips of texts, or a 3D object of a picture.

    With --text, --output is out.png, out.mp4, or a folder for several.

    For classes, the output folder gets images/, grid.png and generated.json, which records
    model, classes, seed and settings. The same command goes on where it was stopped.

    With --image, --output is out.ply, a file of 3D Gaussians.
    """
    if image or mask or turntable or page:
        needless = {
            "--class": classes,
            "--text": texts,
            "--frames": frames,
            "--height": height,
            "--width": width,
            "--count": count,
            "--guidance-channels": guidance_channels,
            "--guidance-start": guidance_start,
            "--guidance-schedule": guidance_schedule,
            "--temperature": temperature,
            "--npz": npz,
            "--shard": shard,
        }
        settings = {"num_inference_steps": steps, "guidance_scale": guidance, "shift": shift}
        outputs = ObjectOutputs(output, turntable, page, overwrite)
        check_object_options(image or [], mask or [], outputs, [name for name, value in needless.items() if value])
        generate_object(image, mask or [], outputs, model, seed, settings, chosen_device(device), dtype.value, as_json)
        return
    given: dict[str, Any] = {
        "num_inference_steps": steps,
        "guidance_scale": guidance,
        "guidance_channels": guidance_channels,
        "guidance_start": guidance_start,
        "guidance_schedule": guidance_schedule and guidance_schedule.value,
        "shift": shift,
        "temperature": temperature,
    }
    given = {name: value for name, value in given.items() if value is not None}
    if texts:
        from .text_generation import Wanted, check_alone, frames_of, generate_texts

        others = {"--class": classes, "--npz": npz, "--shard": shard, "--processes": processes > 1}
        check_alone({**others, **{SETTINGS[name]: True for name in given.keys() - OF_TEXTS}})
        given |= {name: value for name, value in (("height", height), ("width", width)) if value is not None}
        wanted = Wanted(texts, count or len(texts), frames_of(output, frames), fps, seed, given)
        facts = generate_texts(wanted, output, model, chosen_device(device), dtype.value, batch_size, overwrite)
        print_json(facts) if as_json else tell(facts["output"])
        return
    for option, value in {"--frames": frames, "--height": height, "--width": width}.items():
        if value is not None:
            raise UsageError(f"{option}: it goes with --text alone; leave it out")
    count = count or 16
    check_output_folder(output)
    place = shard_of(shard)
    if overwrite and place[1] > 1:
        raise UsageError("--overwrite would remove what other shards have made; remove the folder, then start all")
    target = chosen_device(device)

    from .generate_jobs import Run, Workers, finish, make_images, open_output

    with naming("--model"):
        from atoken.evaluation.models.generator_loading import load_generator

        loaded = load_generator(model, target, dtype.value)
    _check_settings(loaded.pipeline, loaded.name, given)
    names = [int(each) if each.isdecimal() else each for each in classes or []]
    run = Run.of(loaded, output, names, count, seed, {**loaded.sampling, **given}, dtype.value)
    open_output(run, overwrite)
    made = make_images(run, loaded, Workers(target, processes, place, batch_size))
    facts = finish(run, npz)
    if as_json:
        print_json({**run.record, **facts, "made": made})
        return
    if facts["missing"]:
        say(f"{facts['missing']} of {count} images are not done yet: other shards work on them, or have been stopped")
    else:
        say(f"{count} images of {_classes_text(run.record['classes'])} by {loaded.name}")
    tell(facts["grid"] or facts["output"])


def _check_settings(pipeline: Any, name: str, given: dict[str, Any]) -> None:
    """Checks the options of sampling, which errors of the pipeline call by the names of its arguments."""
    from atoken.evaluation.seeded_images import setting_defaults

    defaults = setting_defaults(pipeline)
    for setting in given:
        if setting not in defaults:
            raise UsageError(
                f"{SETTINGS[setting]}: it does not go with the {type(pipeline).__name__} {name}; leave it out"
            )
    for setting, value in given.items():
        with naming(SETTINGS[setting]):
            pipeline.check_inputs(0, output_type="latent", **{**defaults, setting: value})


def _classes_text(classes: list[dict[str, Any]]) -> str:
    """Names one class, or says how many there are."""
    return str(classes[0]["name"]) if len(classes) == 1 else f"{len(classes)} classes"
