from pathlib import Path

from setuptools import setup

DIFFUSERS = ["diffusers>=0.36"]
VIDEO = ["av>=12"]
THREE_D = ["trimesh>=4.4", "embreex>=2.17.7", "gsplat>=1.5.3"]
TRAIN = [
    "accelerate>=1.1",
    "datasets>=3",
    "lpips>=0.1.4",
    "peft>=0.13",
    "tensorboard>=2.15",
    "pyyaml>=6",
    "torch>=2.9",
    "torch-fidelity>=0.3",
    "torchmetrics>=1.4",
]
DEEPSPEED = ["deepspeed>=0.16"]
EVALUATION = [
    "datasets>=3",
    "evaluate>=0.4.3",
    "lpips>=0.1.4",
    "matplotlib>=3.8",
    "pyyaml>=6",
    "scikit-learn>=1.4",
    "torch-fidelity>=0.3",
    "torchmetrics>=1.4",
]
EXPORT = ["onnx>=1.17", "onnxscript>=0.5", "onnxruntime>=1.20"]
QUANTIZATION = ["torchao>=0.18"]
DEV = [
    "accelerate>=1.1",
    "parameterized>=0.9",
    "peft>=0.13",
    "playwright>=1.50",
    "pyright>=1.1.390",
    "pytest>=8",
    "pytest-xdist>=3",
    "ruff>=0.17",
    "scikit-image>=0.22",
    "tensorboard>=2.15",
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

setup(
    name="atoken",
    version="0.1.0",
    description="AToken: one tokenizer for images, videos and 3D objects, at home in transformers and diffusers",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11,<3.14",
    packages=list(PACKAGES),
    package_dir=PACKAGES,
    package_data={
        "atoken": ["presets/*.json"],
        "atoken.pages": ["assets/*"],
        "atoken.evaluation": ["*.json"],
        "atoken.training": ["launch/*"],
        "atoken.training.tokenizer": ["stages/*.yaml"],
        "atoken.training.recipes.tiny": ["*.json", "stages/*.yaml", "sources/*.yaml"],
    },
    install_requires=[
        "torch>=2.6",
        "torchvision>=0.21",
        "transformers>=5.23",
        "huggingface_hub>=1.0",
        "safetensors>=0.4.5",
        "numpy>=1.26",
        "pillow>=10",
        "ftfy>=6.1",
        "typer>=0.12",
        "rich>=13",
    ],
    extras_require={
        "diffusers": DIFFUSERS,
        "video": VIDEO,
        "3d": THREE_D,
        "train": TRAIN,
        "deepspeed": TRAIN + DEEPSPEED,
        "evaluation": EVALUATION,
        "export": EXPORT,
        "quantization": QUANTIZATION,
        "dev": DEV + DIFFUSERS + VIDEO + THREE_D + EVALUATION + EXPORT + QUANTIZATION,
    },
    entry_points={"console_scripts": ["atoken = atoken_app.main:main"]},
)
