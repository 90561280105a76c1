"""The process of the load generator: it goes first, and says what failed."""

import os
import resource

import numpy as np
import pytest

import kofn
from bench.load.driving import Server
from bench.load.process import LoadProcess


@pytest.mark.skipif(
    os.geteuid() != 0 and resource.getrlimit(resource.RLIMIT_RTPRIO)[0] == 0,
    reason="the system does not let it go first",
)
async def test_it_goes_before_what_it_measures() -> None:
    async with LoadProcess() as load:
        assert os.sched_getscheduler(load.pid) == os.SCHED_RR


async def test_nobody_there_is_told_and_ends_nothing() -> None:
    images = np.zeros((4, 1, 8, 8), np.float32)
    requests, times = np.zeros((1, 1), np.int64), np.zeros(1)
    async with LoadProcess() as load:
        for _ in range(2):
            with pytest.raises(kofn.Unavailable):
                await load.prepare(Server("127.0.0.1:1", "m", 0.1), images, requests, times)
