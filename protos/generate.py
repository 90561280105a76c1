"""Writes kofn/wire/*_pb2* from the .proto files; --check says whether they are current.

The stubs are committed, so that nobody needs a compiler to run the project.
"""

import argparse
import filecmp
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

PROTOS = Path(__file__).resolve().parent
ROOT = PROTOS.parent


def generate(target: Path) -> None:
    """Compile every .proto below protos/ into `target`.

    Raises:
        SystemExit: protoc refused a file; it has printed why.
    """
    sources = [str(path) for path in sorted(PROTOS.rglob("*.proto"))]
    outputs = [f"--{kind}_out={target}" for kind in ("python", "pyi", "grpc_python")]
    if protoc.main(["protoc", f"-I{PROTOS}", *outputs, *sources]) != 0:
        raise SystemExit(1)


def stale() -> list[str]:
    """Names of stub files that differ from what the .proto files give now."""
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        fresh = sorted(path for path in Path(folder).rglob("*_pb2*") if path.is_file())
        return [
            str(path.relative_to(folder))
            for path in fresh
            if not (there := ROOT / path.relative_to(folder)).exists()
            or not filecmp.cmp(path, there, shallow=False)
        ]


def main() -> int:
    """Command line: 0 when done or current, 1 when --check found stale stubs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only, write nothing")
    if not parser.parse_args().check:
        generate(ROOT)
        return 0
    names = stale()
    if names:
        sys.stderr.write(f"stale stubs (run `make protos`): {', '.join(names)}\n")
    return 1 if names else 0


if __name__ == "__main__":
    raise SystemExit(main())
