"""What master and worker share as processes."""

import asyncio
import gc

from kofn.service import settle
from support.until import until


async def test_what_a_process_has_is_kept_from_its_garbage_collector() -> None:
    """At once, and again with what the first program brought; what comes later is looked at, also
    where collections were put off until then."""
    loaded = asyncio.Event()
    gc.disable()
    settling = asyncio.create_task(settle(loaded))
    try:
        await until(gc.isenabled)  # which comes after the first; others may have frozen before
        assert gc.get_freeze_count() > 10_000
        before = gc.get_freeze_count()
        brought: list[list[int]] = [[] for _ in range(10_000)]
        loaded.set()
        await settling
        frozen = gc.get_freeze_count()
        assert frozen > before + len(brought) // 2  # others end meanwhile
        assert len(gc.get_objects()) < 10_000
    finally:
        settling.cancel()
        gc.unfreeze()
        gc.enable()
