"""`python -m kofn.launch.reaper CLUSTER`: removes a cluster's containers when its launcher ends.

The launcher holds the other end of its standard input. However it ends, by SIGKILL too, this
process reads the end of the file and removes what there is.
"""

import sys
import threading

from kofn.launch.engine import IN_ORDER, connect, remove

AGAIN_S = 2.0  # what the engine was making when the launcher was killed shows up by then


def main(cluster: str) -> None:
    """Wait for the end of standard input, then remove."""
    said = sys.stdin.buffer.read()
    client = connect()
    remove(client, cluster)
    if said != IN_ORDER:
        threading.Event().wait(AGAIN_S)
        remove(client, cluster)


if __name__ == "__main__":
    main(sys.argv[1])
