"""The standard health service of a master: the whole, its services, and each model, live.

A model serves when enough workers are up to answer its requests; the whole serves when some model
does, or when there is none yet. The control service serves until the master drains: whoever asks
whether the process is alive asks for it.
"""

from collections.abc import Sequence

from grpc_health.v1 import health, health_pb2

from master.state import State

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class Health(health.aio.HealthServicer):  # type: ignore[misc, name-defined]
    """Tells what the state is; until `follow` runs, and while draining, nothing serves.

    Args:
        state: of the master.
        inference: services that serve as the whole does; "" is the whole.
        control: services that serve until the master drains.
    """

    def __init__(self, state: State, inference: Sequence[str], control: Sequence[str]) -> None:
        super().__init__()
        self._state = state
        self._inference = tuple(inference)
        self._control = tuple(control)
        self._models: set[str] = set()  # those that were told of
        for service in (*inference, *control):
            self._server_status[service] = NOT_SERVING

    async def follow(self) -> None:
        """Tell every change, until cancelled."""
        changed = self._state.events.changed
        while True:
            changed.clear()
            await self.tell()
            await changed.wait()

    async def tell(self) -> None:
        """Tell how things are now; models that are gone are forgotten."""
        models = {name: item.is_ready for name, item in self._state.deployments.items()}
        can_answer = any(models.values()) or not models
        serving = {
            **models,
            **dict.fromkeys(self._inference, can_answer),
            **dict.fromkeys(self._control, True),
        }
        for service, serves in serving.items():
            await self.set(service, SERVING if serves else NOT_SERVING)
        for gone in self._models - models.keys():
            await self.set(gone, UNKNOWN)
            self._server_status.pop(gone, None)  # else names would pile up; the library keeps them
        self._models = set(models)
