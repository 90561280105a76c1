"""One master for all foreign clients; each client goes through the plan once."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from models import data
from support.cluster import cluster
from support.foreign import Client, Suite, told_by
from support.scenarios import DEPLOYMENTS, IMAGES, plan, scenarios


@pytest.fixture(scope="session")
async def suite(
    tmp_path_factory: pytest.TempPathFactory, digits_store: Any, digits_program: Any
) -> AsyncIterator[Suite]:
    """The master with its workers, and the plan."""
    folder = tmp_path_factory.mktemp("conformance")
    images = data.load("digits", "test").images[:IMAGES]
    items = scenarios(images.numpy())
    asked = folder / "plan.json"
    asked.write_text(json.dumps(plan(items, images.numpy())))
    expected = digits_program([images])[0].numpy()
    async with cluster(folder, digits_store, DEPLOYMENTS, workers=3) as running:
        yield Suite(
            running.master.address, asked, {item.name: item for item in items}, expected, {}
        )


@pytest.fixture(scope="session")
async def client(request: pytest.FixtureRequest, suite: Suite) -> Client:
    """A client, which has gone through the plan: what it saw is in `suite.told`."""
    asked: Client = request.param
    if asked.name not in suite.told:
        try:
            suite.told[asked.name] = await told_by(asked, suite.address, suite.plan)
        except Exception as error:  # noqa: BLE001 - raised for each test that needs this client
            suite.told[asked.name] = error
    return asked
