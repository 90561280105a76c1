"""Our compiled protocol beside four that others published: numbers, names and types of fields."""

import json
import sys
from copy import deepcopy
from typing import Any

import pytest

from support.foreign import CLIENTS, SCRIPTS, descriptors, run

pytestmark = pytest.mark.timeout(900)  # the first test of a client installs it

Described = dict[str, dict[str, Any]]  # messages, enums and methods, by full name
MODULES = {
    "triton": "tritonclient.grpc.service_pb2",
    "kserve": "kserve.protocol.grpc.grpc_predict_v2_pb2",
    "mlserver": "mlserver.grpc.dataplane_pb2",
    "open_inference": "open_inference.grpc.protocol",
}
# MLServer's stream answers with ModelInferResponse, Triton's with a message of its own. We follow
# Triton, whose stream can tell of an error and go on.
KNOWN = {"mlserver": {"method inference.GRPCInferenceService.ModelStreamInfer differs"}}
BY_NAME = {client.name: client for client in CLIENTS}


@pytest.fixture(scope="module")
async def ours() -> Described:
    """Our own."""
    script = SCRIPTS / "descriptors.py"
    return json.loads(await run(sys.executable, script, "kofn.wire.inference_pb2"))


@pytest.mark.parametrize("name", [pytest.param(n, marks=BY_NAME[n].marks) for n in MODULES])
async def test_fields_agree(ours: Described, name: str) -> None:
    """What both have is the same, but for what is known and said in the document."""
    theirs = await descriptors(BY_NAME[name], MODULES[name])
    assert len(ours["messages"].keys() & theirs["messages"].keys()) >= 23
    assert disagreements(ours, theirs) == KNOWN.get(name, set())


async def test_all_of_ours_is_in_tritons(ours: Described) -> None:
    """We invented no field, message or method of the published names."""
    theirs = await descriptors(BY_NAME["triton"], MODULES["triton"])
    for kind in ("messages", "enums", "methods"):
        assert ours[kind].keys() <= theirs[kind].keys()
    for message, fields in ours["messages"].items():
        assert fields.keys() <= theirs["messages"][message].keys(), message


@pytest.mark.heavy
async def test_all_of_the_specification_is_in_ours(ours: Described) -> None:
    """Every method and field of the reference, but the free-form properties of a model."""
    theirs = await descriptors(BY_NAME["open_inference"], MODULES["open_inference"])
    assert theirs["methods"].keys() <= ours["methods"].keys()
    missing = {
        f"{message} {field[0]}"
        for message, fields in theirs["messages"].items()
        for number, field in fields.items()
        if number not in ours["messages"].get(message, {})
    }
    properties = "inference.ModelMetadataResponse"
    assert missing == {
        f"{properties} properties",
        f"{properties}.PropertiesEntry key",
        f"{properties}.PropertiesEntry value",
    }


@pytest.mark.parametrize(
    ("number", "field", "told"),
    [
        ("3", ["id", 5, False, None], {"field inference.ModelInferRequest 3 differs"}),
        ("3", ["key", 9, False, None], {"field inference.ModelInferRequest 3 differs"}),
        ("3", ["id", 9, True, None], {"field inference.ModelInferRequest 3 differs"}),
        ("9", ["id", 9, False, None], {"field inference.ModelInferRequest id has two numbers"}),
    ],
)
def test_a_wrong_field_is_found(
    ours: Described, number: str, field: list[Any], told: set[str]
) -> None:
    """A type, a name, a repetition and a number, each changed in turn."""
    planted = deepcopy(ours)
    fields = planted["messages"]["inference.ModelInferRequest"]
    del fields["3"]
    fields[number] = field
    assert disagreements(ours, planted) == told


def disagreements(ours: Described, theirs: Described) -> set[str]:
    """Where two descriptions of one protocol would misunderstand each other."""
    found = set()
    for message in ours["messages"].keys() & theirs["messages"].keys():
        mine, other = ours["messages"][message], theirs["messages"][message]
        found |= {
            f"field {message} {number} differs"
            for number in mine.keys() & other.keys()
            if mine[number] != other[number]
        }
        numbers = {field[0]: number for number, field in mine.items()}
        found |= {
            f"field {message} {field[0]} has two numbers"
            for number, field in other.items()
            if numbers.get(field[0], number) != number and number not in mine
        }
    for kind, word in (("enums", "enum"), ("methods", "method")):
        found |= {
            f"{word} {name} differs"
            for name in ours[kind].keys() & theirs[kind].keys()
            if not agree(ours[kind][name], theirs[kind][name])
        }
    return found


def agree(mine: Any, other: Any) -> bool:
    """Equal; of enums, equal in what both have."""
    if isinstance(mine, dict):
        return all(mine[name] == other[name] for name in mine.keys() & other.keys())
    return bool(mine == other)
