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
    Encode and decode images, videos and meshes; write the results and print their quality.

    Images become PNG files and videos MP4 files, at their original size.
    Meshes become PLY files of 3D Gaussians.

    PSNR and SSIM are measured on 8-bit RGB (data range 255): of videos before
    they are compressed as MP4, of meshes over 8 views of 256 pixels on black.
    Bits per pixel are the bits that `encode` stores, divided by the original
    pixels of all frames. Seconds are those of the model alone.
    """
    jobs, record = find_media(inputs)
    jobs = assign_outputs(jobs, output, lambda job: OUTPUT_SUFFIXES[job.kind], overwrite, record)
    rows, loaded = [], None
    if jobs:
        from .media_jobs import reconstruct_media
        from .object_jobs import reconstruct_object

        loaded = load(model, device, dtype)

        def work(job: Job) -> ReconstructedRow:
            if job.kind == "object":
                return reconstruct_object(loaded, job, latent_dtype.value)
            return reconstruct_media(loaded, job, latent_dtype.value, fps)

        rows = run_jobs(jobs, record, work, "reconstructing")
    report(rows, record, as_json, quality_table, about(loaded))
