"""Launchers keep their contract, and chaos finds and harms processes."""

from pathlib import Path

import psutil
import pytest

import kofn
from kofn.chaos import find
from kofn.launch import Cluster, LocalWorkers, StaticWorkers
from support.launching import check_launcher, watching

PATIENCE_S = 120.0

pytestmark = pytest.mark.timeout(300)


async def test_processes_keep_the_contract(tmp_path: Path) -> None:
    """See `check_launcher`."""
    await check_launcher(LocalWorkers(2), tmp_path)


async def test_addresses_are_enough_for_a_cluster_and_its_chaos(tmp_path: Path) -> None:
    """A master over workers that others started; what it tells of them suffices to harm them."""
    local = LocalWorkers(2)
    async with (
        local.running(tmp_path),
        Cluster(StaticWorkers(local.targets)) as cluster,
        kofn.AsyncClient(cluster.address) as client,
    ):
        await cluster.all_up(PATIENCE_S)
        assert [worker.name for worker in cluster.workers] == local.targets
        with pytest.raises(kofn.FailedPrecondition, match="was not started here"):
            await cluster.kill(local.targets[0])
        chaos = await find(client)
        assert sorted(await chaos.workers()) == ["worker-0", "worker-1"]
        process = psutil.Process(local.workers[1].pid)
        async with watching(client) as seen:
            await chaos.act("worker-1", "pause")
            await seen("worker-down", "worker-1")
            assert process.status() == psutil.STATUS_STOPPED
            assert await chaos.undo() == [("worker-1", "unpause")]
            await seen("worker-up", "worker-1")
            assert process.status() != psutil.STATUS_STOPPED
        await cluster.all_up(PATIENCE_S)
        async with watching(client) as seen:
            await chaos.act("worker-1", "pause")
            await chaos.act("worker-1", "restart")  # lets it go on, so that it can end
            await seen("worker-up", "worker-1")
        await cluster.all_up(PATIENCE_S)
        assert local.workers[1].pid != process.pid
        with pytest.raises(kofn.NotFound, match="'worker-9'; there are: worker-"):
            await chaos.act("worker-9", "pause")
        with pytest.raises(kofn.InvalidArgument, match="needs workers in containers"):
            await chaos.act("worker-0", "disconnect")
        with pytest.raises(kofn.InvalidArgument, match="'cpus' must be given with limit-cpu"):
            await chaos.act("worker-0", "limit-cpu")
