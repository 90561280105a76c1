"""In an image's build: whether the torch that pip chose is the one that was asked for.

Reads torch's own version file and imports nothing of it, so that a build of several GB is refused
before its libraries are fetched.
"""

import runpy
import sys
from importlib.util import find_spec
from pathlib import Path

REMEDY = {
    "cpu": "give the address of PyTorch's index of CPU wheels",
    "cuda": "give the address of PyTorch's index for your version of CUDA",
}


def main() -> int:
    """0 when the installed torch is for `argv[1]`, "cpu" or "cuda"; else 1, saying what to do."""
    wanted = sys.argv[1]
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        sys.stderr.write("torch is not installed.\n")
        return 1
    cuda = runpy.run_path(str(Path(spec.origin).with_name("version.py")))["cuda"]
    if (cuda is not None) == (wanted == "cuda"):
        return 0
    sys.stderr.write(
        f"TORCH={wanted} was asked for, but pip chose a build for "
        f"{'CPUs' if cuda is None else f'CUDA {cuda}'}: {REMEDY[wanted]} as TORCH_INDEX "
        "(--build-arg TORCH_INDEX=..., or the variable for docker compose).\n"
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
