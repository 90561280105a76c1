"""The Docker engine, from the event loop: calls in threads, its errors in our words, our labels.

What `kofn up` makes there carries its cluster's name, so that it can be found and removed by
whoever comes later.
"""

import asyncio
import io
import tarfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from kofn.wire.errors import FailedPrecondition, KofnError, Unavailable

CLUSTER = "kofn.cluster"  # label: the name of the cluster that a container or network is of
ROLE = "kofn.role"  # label: "worker" or "master"; Compose projects carry it, too
WORKER = "kofn.worker"  # label: the worker's name
ADDRESS = "kofn.address"  # label: the address that it has whenever it is connected

IN_ORDER = b"end"  # what a launcher that ends in order says to its reaper: nothing is on its way
THREADS = 8  # calls at once; most of a call is waiting for the engine

P = ParamSpec("P")
T = TypeVar("T")


class Engine:
    """A connection to the engine that DOCKER_HOST names, else this machine's.

    Raises:
        FailedPrecondition: no engine answers there, or it does not let this user in.
    """

    def __init__(self) -> None:
        self.client = connect()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="asyncio_docker")

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a blocking call of the Docker SDK in a thread.

        Raises:
            Unavailable: the engine refused it, in its words.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, partial(_told, function, *args, **kwargs))

    async def settle(self) -> None:
        """Wait for calls that were broken off here and still run there; no further one may come."""
        await asyncio.to_thread(self._threads.shutdown, wait=True, cancel_futures=True)

    def close(self) -> None:
        """Hang up."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self.client.close()


def connect() -> Any:
    """A client of the Docker SDK whose engine has answered; raises FailedPrecondition."""
    import docker
    from docker.errors import DockerException

    try:
        client = docker.from_env()
        client.ping()
    except DockerException as error:
        raise FailedPrecondition(_no_engine(error)) from error
    return client


def packed(name: str, files: Iterable[Path]) -> bytes:
    """Files in a folder of this name, as the engine copies them into a container: a tar archive.

    They are root's there, and every user of the container may read them and none change them:
    whoever runs in it is another user than the one here, who may be alone in reading a key.
    """
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        folder = tarfile.TarInfo(name)
        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(folder)
        for file in files:
            content = file.read_bytes()
            copy = tarfile.TarInfo(f"{name}/{file.name}")
            copy.size, copy.mode = len(content), 0o444
            archive.addfile(copy, io.BytesIO(content))
    return made.getvalue()


def remove(client: Any, cluster: str | None = None) -> list[str]:
    """Remove the containers and networks of a cluster, or of all that `kofn up` made.

    Returns:
        What was removed, by name.
    """
    label = CLUSTER if cluster is None else f"{CLUSTER}={cluster}"
    found = client.containers.list(all=True, filters={"label": label}, ignore_removed=True)
    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(_gone(lambda container: container.remove(force=True, v=True)), found))
    networks = client.networks.list(filters={"label": label})
    for network in networks:
        _gone(lambda network: network.remove())(network)
    return [item.name for item in (*found, *networks)]


def _gone(function: Callable[[Any], None]) -> Callable[[Any], None]:
    """The same, where another may have been quicker."""
    from docker.errors import APIError, NotFound

    def remove_one(item: Any) -> None:
        try:
            function(item)
        except NotFound:
            pass
        except APIError as error:
            if "already in progress" not in str(error):
                raise

    return remove_one


def _told(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    from docker.errors import APIError, DockerException
    from requests.exceptions import RequestException

    try:
        return function(*args, **kwargs)
    except APIError as error:
        raise _refusal(error.explanation or str(error)) from error
    except (DockerException, RequestException) as error:
        raise Unavailable(f"The Docker engine does not answer: {error}") from error


def _refusal(words: str) -> KofnError:
    if "could not select device driver" in words:
        return FailedPrecondition(
            "The Docker engine cannot give GPUs to containers: install the NVIDIA Container "
            "Toolkit, or choose --device cpu."
        )
    return Unavailable(f"The Docker engine refuses: {words}")


def _no_engine(error: Exception) -> str:
    if "Permission denied" in str(error):
        return (
            "The Docker engine does not let this user in: add the user to the group docker "
            "(usermod -aG docker USER), and log in again."
        )
    return (
        "No Docker engine answers: start it (systemctl start docker, or Docker Desktop), or name "
        f"another with DOCKER_HOST. ({error})"
    )
