"""A Ray cluster of two nodes on this machine; a line on standard input kills the second.

Prints the cluster's address, and a line when the node is dead. Ends with standard input.
"""

import sys

import psutil
from ray.cluster_utils import Cluster

NODE = {"num_cpus": 4, "object_store_memory": 80 * 2**20, "include_dashboard": False}
SYSTEM = {"health_check_period_ms": 500}  # five misses and a node is dead; the default is 3 s each


def main() -> None:
    """Start, obey, end."""
    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "_system_config": SYSTEM})
    second = cluster.add_node(**NODE)
    sys.stdout.write(f"{cluster.address}\n")
    sys.stdout.flush()
    for _ in sys.stdin:
        raylet = psutil.Process(second.all_processes["raylet"][0].process.pid)
        for process in (raylet, *raylet.children(recursive=True)):
            process.kill()  # all at once, as when a machine loses power
        sys.stdout.write("killed\n")
        sys.stdout.flush()
    cluster.shutdown()


if __name__ == "__main__":
    main()
