"""`atoken export`: a model as a complete Hub repository."""

import json
from pathlib import Path
from typing import Annotated

import typer

from atoken_headers.generator_folders import is_generator_folder, local_generator
from atoken_headers.model_folders import find_model

from .console import print_json, tell
from .errors import UsageError, naming
from .loading import load
from .model_output import check_model_output
from .options import AsJson, Device, Dtype, ModelOutput, OverwriteModel


def export(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="Folder, Hub name, or name of an embedded checkpoint; or the folder of a generator's pipeline.",
        ),
    ],
    out: ModelOutput,
    name: Annotated[
        str | None,
        typer.Option(
            "--name", help="Name on the model card. Default: that of --push, else of OUT.", show_default=False
        ),
    ] = None,
    license: Annotated[
        str | None,
        typer.Option(
            "--license",
            help="License of the weights, by its Hub name, such as apache-2.0. Default: as config.json states.",
            show_default=False,
        ),
    ] = None,
    evaluation: Annotated[
        Path | None,
        typer.Option(
            "--evaluation",
            help="JSON file of scores for the model card. Default: MODEL/training.json, if it exists.",
            show_default=False,
        ),
    ] = None,
    dtype: Annotated[
        Dtype | None,
        typer.Option("--dtype", help="Number type of the stored weights. Default: as in MODEL.", show_default=False),
    ] = None,
    max_shard_size: Annotated[
        str, typer.Option("--max-shard-size", help="Largest size of one file of weights; larger weights are split.")
    ] = "5GB",
    push: Annotated[
        str | None,
        typer.Option(
            "--push", metavar="REPO", help="Upload OUT to this Hub repository, such as me/atoken.", show_default=False
        ),
    ] = None,
    private: Annotated[
        bool, typer.Option("--private", help="Create the Hub repository of --push as a private one.")
    ] = False,
    space: Annotated[
        bool, typer.Option("--space", help="Write a Space instead: a web page, as of `atoken serve`, that shows MODEL.")
    ] = False,
    overwrite: OverwriteModel = False,
    as_json: AsJson = False,
) -> None:
    """
    Write a complete Hub repository: weights, processor, remote code, vae/ for diffusers, model card.

    With --space, write a Space, which shows the model to visitors.
    """
    out = out.absolute()
    generator = local_generator(model)
    if space:
        for option, value in {"--evaluation": evaluation, "--dtype": dtype}.items():
            if value is not None:
                raise UsageError(f"{option}: it does not go with --space; leave it out")
        facts = _export_space(model, generator, out, name or push or out.name, license, overwrite)
    elif generator is not None:
        only_models = {"--evaluation": evaluation, "--dtype": dtype}
        for option, value in only_models.items():
            if value is not None:
                raise UsageError(f"{option}: it does not go with a generator, {model}; leave it out")
        facts = _export_generator(generator, out, name or push or out.name, license, overwrite)
    else:
        facts = _export_model(
            model, out, name or push or out.name, license, evaluation, dtype, max_shard_size, overwrite
        )
    if push is not None:
        from .publishing import push_repository

        with naming("--push"):
            facts["pushed"] = push_repository(out, push, private, "space" if space else "model")
    if as_json:
        print_json(facts)
    else:
        tell(f"{facts['model']} -> {facts.get('pushed', out)}")


def _export_space(
    model: str, generator: Path | None, out: Path, name: str, license: str | None, overwrite: bool
) -> dict[str, str]:
    """Writes the repository of a Space; gives what is to be reported."""
    from atoken.tokenizing.files import NewFolder, folder_of

    from .space_publishing import is_space, write_space

    check_model_output(out, overwrite, is_space, "Space")
    with naming("--model"):
        folder, label = (generator, generator.name) if generator is not None else find_model(model)
    config = folder / "config.json"
    stated = json.loads(config.read_text(encoding="utf-8")).get("weights_license") if config.is_file() else None
    if stated is not None and license not in (None, stated):
        raise UsageError(f"--license: {label} states the license {stated}, which stays")
    if (license or stated) is None:
        raise UsageError(f"--license: {label} states none; give one, such as apache-2.0")
    shown = label if "/" in label and not Path(label).is_absolute() else Path(label).name
    with folder_of(out), NewFolder(out) as repository:
        write_space(repository, folder, shown, name.split("/")[-1], license or stated)
    return {"model": label, "output": str(out), "license": license or stated}


def _export_generator(source: Path, out: Path, name: str, license: str | None, overwrite: bool) -> dict[str, str]:
    """Writes the repository of a generator's pipeline; gives what is to be reported."""
    from diffusers import DiffusionPipeline

    import atoken.generation  # noqa: F401  diffusers finds the classes of its pipelines by it
    from atoken.tokenizing.files import NewFolder, folder_of

    from .generator_publishing import write_generator_repository

    if out.resolve() == source.resolve():
        raise UsageError(f"OUT: {out} is MODEL itself; give another folder")
    check_model_output(out, overwrite, is_generator_folder, "generator's folder")
    if license is None:
        raise UsageError("--license: a generator's files state none; give one, such as apache-2.0")
    pipeline = DiffusionPipeline.from_pretrained(source)
    with folder_of(out), NewFolder(out) as repository:
        write_generator_repository(pipeline, repository, name, license)
    return {"model": str(source), "output": str(out), "license": license}


def _export_model(
    model: str,
    out: Path,
    name: str,
    license: str | None,
    evaluation: Path | None,
    dtype: Dtype | None,
    max_shard_size: str,
    overwrite: bool,
) -> dict[str, str]:
    """Writes the repository of a tokenizer; gives what is to be reported."""
    from atoken.conversion_atoken import OFFICIAL_LICENSE
    from atoken.tokenizing.files import NewFolder, folder_of

    from .publishing import read_evaluation, write_repository

    check_model_output(out, overwrite)
    with naming("--model"):
        folder, label = find_model(model)
    if out.resolve() == folder.resolve():
        raise UsageError(f"OUT: {out} is MODEL itself; give another folder")
    if evaluation is None and (folder / "training.json").is_file():
        evaluation = folder / "training.json"
    scores = None
    if evaluation is not None:
        with naming("--evaluation"):
            scores = read_evaluation(evaluation)
    loaded = load(model, Device.cpu, dtype)
    stated = loaded.model.config.weights_license
    if stated == OFFICIAL_LICENSE and license not in (None, stated):
        raise UsageError(f"--license: {label} holds converted official weights, whose license stays {stated}")
    if (license or stated) is None:
        raise UsageError(
            f"--license: {label} states none in config.json (weights_license); give one, such as apache-2.0"
        )
    loaded.model.config.weights_license = license or stated
    with folder_of(out), NewFolder(out) as repository:
        write_repository(
            loaded.model, loaded.processor, repository, name, license or stated, scores, max_shard_size=max_shard_size
        )
    return {"model": label, "output": str(out), "license": license or stated}
