"""References of ADM's evaluator as sets: some images, and the mean and covariance of a whole training set."""

from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..array_files import ArrayFile
from ..interface import EvaluationSet, Sample
from ..metrics.adm import MOMENTS, read_moments
from .file_lists import checksum, existing, take

SOURCE = "References are at https://github.com/openai/guided-diffusion/tree/main/evaluations"


def adm_reference(path: str, limit: int | None = None) -> EvaluationSet:
    """
    Takes the images of a reference such as `VIRTUAL_imagenet256_labeled.npz`, at their own size.

    Where the file has `mu`, `sigma`, `mu_s` and `sigma_s`, both Frechet distances are to these.

    Args:
        path: of the `.npz`.
        limit: takes so many images; the mean and covariance stay those of the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it has no images, some of the four arrays only, or arrays of other sizes.
    """
    place = existing(path, "adm-reference", SOURCE)
    file = ArrayFile(place)
    moments = partial(read_moments, file) if read_moments(file) is not None else None
    names = take([f"{index:06d}" for index in range(len(file))], None, limit, "adm-reference")
    samples = [Sample(name, partial(_image, file, int(name))) for name in names]
    protocol: dict[str, Any] = {
        "size": f"{file.shape[2]} x {file.shape[1]}, as stored",
        "range": "8-bit RGB",
        "count": len(samples),
        "mean and covariance": f"of the file ({', '.join(MOMENTS)})" if moments else "of these images",
        **({"limit": limit} if limit is not None else {}),
    }
    digest = checksum(place.parent, [place.name])
    return EvaluationSet(Path(path).stem, "image", samples, protocol, digest, moments=moments)


def _image(file: ArrayFile, index: int) -> torch.Tensor:
    return torch.from_numpy(file.rows(index, index + 1)).permute(0, 3, 1, 2)
