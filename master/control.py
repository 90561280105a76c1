"""The operator's edge: status, faults, deployments, events."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc

from kofn.settings import SettingsError, parse_yaml
from kofn.wire import control_pb2, control_pb2_grpc, worker_pb2
from kofn.wire.errors import InvalidArgument, KofnError, NotFound
from master import describe
from master.config import DeploymentConfig
from master.link import Link
from master.state import State

Context = grpc.aio.ServicerContext[Any, Any]


class Control(control_pb2_grpc.ControlServicer):  # type: ignore[misc]
    """The control service of one master."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def GetStatus(
        self, request: control_pb2.GetStatusRequest, context: Context
    ) -> control_pb2.Status:
        """Workers and deployments as they are now."""
        return describe.status(self._state)

    async def SetFaults(
        self, request: control_pb2.SetFaultsRequest, context: Context
    ) -> control_pb2.FaultsReply:
        """Forward to the chosen workers; each one's refusal is told beside the others' success."""
        links = self._chosen(request.workers)
        told = [self._ask(link, link.set_faults(request.faults_json)) for link in links]
        reply = control_pb2.FaultsReply(workers=await asyncio.gather(*told))
        for item in reply.workers:
            if not item.error:
                self._state.events.tell("faults", item.worker, item.faults_json)
        return reply

    async def GetFaults(
        self, request: control_pb2.GetFaultsRequest, context: Context
    ) -> control_pb2.FaultsReply:
        """What the chosen workers inject now."""
        links = self._chosen(request.workers)
        told = [self._ask(link, link.get_faults()) for link in links]
        return control_pb2.FaultsReply(workers=await asyncio.gather(*told))

    async def Deploy(
        self, request: control_pb2.DeployRequest, context: Context
    ) -> control_pb2.DeploymentStatus:
        """Start or replace a deployment; answers when it serves."""
        try:
            config = parse_yaml(request.deployment_yaml, DeploymentConfig, source="deployment")
        except SettingsError as error:
            raise InvalidArgument(str(error)) from error
        return describe.deployment_status(await self._state.deploy(config))

    async def Undeploy(
        self, request: control_pb2.UndeployRequest, context: Context
    ) -> control_pb2.UndeployReply:
        """Stop serving a name, after the requests in hand."""
        timeout_s = self._state.deployment(request.name).config.timeout_ms / 1e3
        await self._state.undeploy(request.name, timeout_s)
        return control_pb2.UndeployReply()

    async def WatchEvents(
        self, request: control_pb2.WatchEventsRequest, context: Context
    ) -> AsyncIterator[control_pb2.Event]:
        """Events from now on, until the caller hangs up, falls far behind, or the master drains."""
        async with self._state.events.watch() as queue:
            while (event := await queue.get()) is not None:
                yield event

    def _chosen(self, names: Sequence[str]) -> list[Link]:
        links = list(self._state.pool.links.values())
        unknown = [name for name in names if not any(name in (x.name, x.address) for x in links)]
        if unknown:
            known = ", ".join(link.name for link in links) or "none"
            raise NotFound(f"There is no worker {', '.join(unknown)}; there are: {known}.")
        return [link for link in links if not names or {link.name, link.address} & set(names)]

    async def _ask(self, link: Link, call: Any) -> control_pb2.WorkerFaults:
        try:
            answer: worker_pb2.Faults = await call
        except KofnError as error:
            return control_pb2.WorkerFaults(worker=link.name, error=str(error))
        return control_pb2.WorkerFaults(worker=link.name, faults_json=answer.faults_json)
