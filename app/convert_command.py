"""`atoken convert`: the authors' files to a folder that models are loaded from."""

from pathlib import Path
from typing import Annotated, Any

import typer

from .console import print_json, say, tell
from .errors import EXPECTED_ERRORS, UsageError, naming
from .model_output import check_model_output
from .options import AsJson, Dtype, ModelOutput, OverwriteModel, Quantizer
from .tables import readable

RESEARCH_ONLY = "Converted official weights are for research only: their license stays the authors'."


def convert(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The official .pt file.")],
    out: ModelOutput,
    quantizer: Annotated[
        Quantizer | None,
        typer.Option("--quantizer", help="Give fsq for the discrete model (atoken-sod).", show_default=False),
    ] = None,
    encoder_num_heads: Annotated[
        int | None,
        typer.Option(
            "--encoder-num-heads",
            min=1,
            help="Attention heads of the encoder. Needed only if its width is not an official one.",
            show_default=False,
        ),
    ] = None,
    text_tower: Annotated[
        str | None,
        typer.Option(
            "--text-tower", help="Folder or Hub name of a SigLIP2 model, to add its text tower.", show_default=False
        ),
    ] = None,
    gaussian_decoder: Annotated[
        Path | None,
        typer.Option(
            "--gaussian-decoder", help="Official .pt file of the 3D Gaussian decoder, to add it.", show_default=False
        ),
    ] = None,
    gaussian_num_heads: Annotated[
        int | None,
        typer.Option(
            "--gaussian-num-heads",
            min=1,
            help="Attention heads of the Gaussian decoder. Needed only if its width is not the official one.",
            show_default=False,
        ),
    ] = None,
    dtype: Annotated[
        Dtype | None,
        typer.Option("--dtype", help="Number type of the stored weights. Default: float32.", show_default=False),
    ] = None,
    overwrite: OverwriteModel = False,
    as_json: AsJson = False,
) -> None:
    """Convert an official AToken file to a model folder for `--model` and `from_pretrained`."""
    if gaussian_num_heads is not None and gaussian_decoder is None:
        raise UsageError("--gaussian-num-heads needs --gaussian-decoder")
    out = out.absolute()
    check_model_output(out, overwrite)
    import torch

    from atoken.conversion_atoken import convert_original_checkpoint
    from atoken.gaussian_conversion_atoken import attach_gaussian_decoder, convert_original_gaussian_decoder
    from atoken.processing import AtokenProcessor
    from atoken.tokenizing.files import NewFolder, folder_of
    from atoken.tokenizing.loading import quieten_libraries

    quieten_libraries()
    gaussians = None
    if gaussian_decoder is not None:
        with naming("--gaussian-decoder"):
            gaussians = convert_original_gaussian_decoder(gaussian_decoder, num_heads=gaussian_num_heads)
    converted = convert_original_checkpoint(
        file,
        quantizer=quantizer.value if quantizer else None,
        encoder_num_heads=encoder_num_heads,
        text_tower=text_tower,
    )
    if gaussians is not None:
        attach_gaussian_decoder(converted, gaussians)
    if dtype is not None:
        converted = converted.to(getattr(torch, dtype.value))
    processor = AtokenProcessor(tokenizer=_tokenizer_of(text_tower) if text_tower else None)
    if processor.tokenizer is not None and processor.tokenizer.pad_token_id is not None:
        # SigLIP 2 models leave it at the default of their class, which is another token of their vocabulary.
        converted.config.text_config.pad_token_id = processor.tokenizer.pad_token_id
    with folder_of(out), NewFolder(out) as folder:
        converted.save_pretrained(folder)
        processor.save_pretrained(folder)
    say(RESEARCH_ONLY)
    parameters = sum(parameter.numel() for parameter in converted.parameters())
    facts = {"file": str(file), "output": str(out), "parameters": parameters, "note": RESEARCH_ONLY}
    if as_json:
        print_json(facts)
    else:
        tell(f"{file} -> {out} ({readable(parameters)} parameters)")


def _tokenizer_of(source: str) -> Any:
    """The tokenizer beside a text tower, None if there is none."""
    from transformers import AutoTokenizer

    from atoken.processing.text_processing_atoken import add_canonical_form

    try:
        return add_canonical_form(AutoTokenizer.from_pretrained(source))
    except EXPECTED_ERRORS:
        say(f"{source} has no tokenizer: the model will take token ids, but no texts")
        return None
