"""`python -m worker`: threads of the numeric libraries are limited before any of them is loaded."""

import gc
import os


def main() -> None:
    """Serve until told to stop."""
    # One thread each: workers share a machine with others, and NumPy only copies here.
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    # All that is loaded stays; to look for garbage among it is a seventh of a start.
    gc.disable()  # until `kofn.service.settle`
    from worker.command import command

    command()


if __name__ == "__main__":
    main()
