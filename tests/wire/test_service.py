"""What master and worker share as processes."""

import asyncio
import gc

from kofn.service import settle
from support.until import until


async def test_what_a_process_has_is_kept_from_its_garbage_collector() -> None:
    """With the first program; collections begin then."""
    loaded = asyncio.Event()
    settling = asyncio.create_task(settle(loaded))
    try:
        await until(lambda: not gc.isenabled())
        kept: list[list[int]] = [[] for _ in range(10_000)]
        loaded.set()
        await settling
        assert gc.isenabled()
        assert gc.get_freeze_count() > len(kept)
        assert len(gc.get_objects()) < len(kept)
    finally:
        settling.cancel()
        gc.unfreeze()
        gc.enable()


async def test_collections_begin_without_a_program_too() -> None:
    """Patience has an end; what the first program brings is kept all the same."""
    loaded = asyncio.Event()
    gc.disable()
    settling = asyncio.create_task(settle(loaded, patience_s=0.0))
    try:
        await until(gc.isenabled)
        before = gc.get_freeze_count()
        brought: list[list[int]] = [[] for _ in range(10_000)]
        loaded.set()
        await settling
        assert gc.get_freeze_count() > before + len(brought) // 2  # others end meanwhile
        assert len(gc.get_objects()) < len(brought)
    finally:
        settling.cancel()
        gc.unfreeze()
        gc.enable()
