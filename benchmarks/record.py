"""Makes all results of this folder for one device, one after another: `python benchmarks/record.py --device cpu`.

Nothing else should run meanwhile. The commands are printed before they run, so each can be repeated by itself.
"""

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent

# Name of the result, and the script with its arguments. On a CPU the ratio to the bare products takes few blocks, as
# every block costs the same; the other autoencoder is compared with the whole model.
COMMANDS = {
    "cpu": {
        "speed-so400m-2-blocks": "speed.py --size so400m --blocks 2 --repeats 5 --wan-cases",
        "speed-so400m": "speed.py --size so400m --repeats 3 --cases image-256 video-16x256",
        "speed-tiny": "speed.py --size tiny --repeats 5 --wan-cases",
        "bookkeeping-so400m": "bookkeeping.py --size so400m --blocks 2 --repeats 3",
        "streaming-tiny": "streaming.py --size tiny --frames 64 640",
        "gaussians": "gaussians.py --repeats 2",
        "voxels": "voxels.py --repeats 3",
        "rendering": "rendering.py --repeats 3",
        "metrics": "metrics.py",
        "tokenize-corpus-tiny": "tokenize_corpus.py --size tiny",
        "loading": "loading.py",
        "mllm": "mllm.py",
    },
    "cuda": {
        "speed-so400m": "speed.py --size so400m --repeats 10",
        "speed-tiny": "speed.py --size tiny --repeats 10 --wan-cases",
        "bookkeeping-so400m": "bookkeeping.py --size so400m --blocks 27 --repeats 10",
        "streaming-so400m": "streaming.py --size so400m --side 256 --frames 64 640",
        "gaussians": "gaussians.py --repeats 10",
        "tokenize-corpus-so400m": "tokenize_corpus.py --size so400m --images 4096 --batch-tokens 65536 --decoders 14",
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=list(COMMANDS), default="cpu")
    parser.add_argument("--results", type=Path, default=FOLDER / "results", help="folder for the JSON files")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="names of results, such as speed-so400m")
    arguments = parser.parse_args()
    commands = COMMANDS[arguments.device]
    unknown = set(arguments.only or []) - set(commands)
    if unknown:
        parser.error(f"--only must name some of {', '.join(commands)}; got {', '.join(sorted(unknown))}")
    failed = []
    for name in arguments.only or commands:
        script, *options = shlex.split(commands[name])
        output = arguments.results / f"{arguments.device}-{name}.json"
        command = [str(FOLDER / script), *options, "--device", arguments.device, "--json", str(output)]
        print(f"\n$ python {shlex.join(command)}", flush=True)
        if subprocess.run([sys.executable, *command]).returncode:
            failed.append(name)
    if failed:
        sys.exit(f"Failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
