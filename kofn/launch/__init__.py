"""Starts workers somewhere, and a master over them, and ends them; it knows them as commands.

A `Launcher` is a way to have workers: processes here, containers, actors of a Ray cluster, or
addresses where they run already. A `Cluster` is a launcher's workers and a master.
"""

from kofn.launch.actors import RayWorkers
from kofn.launch.cluster import Cluster
from kofn.launch.containers import DockerWorkers
from kofn.launch.launcher import Launcher, Worker
from kofn.launch.local import LocalNodes, LocalWorkers
from kofn.launch.static import StaticWorkers

__all__ = [
    "Cluster",
    "DockerWorkers",
    "Launcher",
    "LocalNodes",
    "LocalWorkers",
    "RayWorkers",
    "StaticWorkers",
    "Worker",
]
