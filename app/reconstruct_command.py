"""`atoken reconstruct`: media through a model and back to files."""

from .jobs import Job, assign_outputs, find_media, run_jobs
from .loading import load
from .options import (
    OUTPUT_SUFFIXES,
    AsJson,
    Device,
    DeviceName,
    Dtype,
    DtypeName,
    Fps,
    Inputs,
    LatentDtype,
    ModelName,
    OutputFolder,
    Overwrite,
)
from .rows import ReconstructedRow
from .tables import about, quality_table, report


def reconstruct(
    inputs: Inputs,
    output: OutputFolder,
    model: ModelName = None,
    device: DeviceName = Device.auto,
    dtype: DtypeName = Dtype.float32,
    latent_dtype: LatentDtype = Dtype.bfloat16,
    fps: Fps = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """
    Encode and decode: PNG and MP4 files of exactly the size they had, PLY files of Gaussians for meshes, with quality.

    PSNR and SSIM are of 8-bit RGB (data range 255), for videos before they are compressed again as MP4, for meshes over
    8 views of 256 pixels on black. Bits per pixel are those of what `encode` stores, over the true pixels of all
    frames. Seconds are of the model alone.
    """
    jobs, failures = find_media(inputs)
    total = len(jobs) + len(failures)
    jobs, existing = assign_outputs(jobs, output, lambda job: OUTPUT_SUFFIXES[job.kind], overwrite)
    failures += existing
    rows, loaded = [], None
    if jobs:
        from .media_jobs import reconstruct_media
        from .object_jobs import reconstruct_object

        loaded = load(model, device, dtype)

        def work(job: Job) -> ReconstructedRow:
            if job.kind == "object":
                return reconstruct_object(loaded, job, latent_dtype.value)
            return reconstruct_media(loaded, job, latent_dtype.value, fps)

        rows = run_jobs(jobs, failures, work, "reconstructing")
    report(rows, failures, total, as_json, quality_table, about(loaded))
