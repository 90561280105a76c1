"""Launches a cluster of processes on this machine and watches over it.

It knows the services by their command lines only.
"""

from kofn.local.cluster import LocalCluster
from kofn.local.workers import LocalWorker, LocalWorkers

__all__ = ["LocalCluster", "LocalWorker", "LocalWorkers"]
