"""Archives that would run code are refused, and nothing in them runs."""

import contextlib
import dataclasses
import gc
import io
import json
import logging
import os
import pickle
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from models.archive import Limits, content_hash, open_archive
from models.networks import make
from models.programs import ProgramRefused, export_program, load_program

GRAPH = "archive/models/model.json"
WEIGHTS = "archive/data/weights/model_weights_config.json"
CONSTANTS = "archive/data/constants/model_constants_config.json"
SAMPLES = "archive/data/sample_inputs/model.pt"
MANY = 128


class Bomb:
    """Pickles to a call that leaves a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (os.mkdir, (str(self.trace),))


@pytest.fixture(scope="module")
def archive() -> bytes:
    torch.manual_seed(0)
    return export_program(make("mlp", (1, 4, 4), 3, hidden=[5]), torch.rand(2, 1, 4, 4))


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return tmp_path / "executed"


def members(archive: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def zipped(parts: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as new:
        for name, data in parts.items():
            new.writestr(name, data)
    return buffer.getvalue()


def edited(archive: bytes, member: str, edit: Callable[[Any], None]) -> bytes:
    parts = members(archive)
    value = json.loads(parts[member])
    edit(value)
    parts[member] = json.dumps(value).encode()
    return zipped(parts)


def saved(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def refuse(archive: bytes, match: str) -> None:
    for read in (load_program, content_hash):
        with pytest.raises(ProgramRefused, match=match):
            read(archive)


@pytest.mark.filterwarnings("ignore")
def test_torch_itself_would_run_the_planted_pickles(
    archive: bytes, trace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The danger is real: without the vetting these very archives execute."""
    noisy = logging.getLogger("torch._export.serde.serialize")
    monkeypatch.setattr(noisy, "disabled", True)  # its warning is itself malformed
    for planted in (in_samples, in_weight):
        with contextlib.suppress(Exception):
            torch.export.load(io.BytesIO(planted(archive, trace)))
        assert trace.exists(), planted
        trace.rmdir()


def in_weight(archive: bytes, trace: Path) -> bytes:
    parts = members(archive)
    config = json.loads(parts[WEIGHTS])
    name, payload = next(iter(config["config"].items()))
    payload["use_pickle"] = True
    parts[WEIGHTS] = json.dumps(config).encode()
    parts[f"archive/data/weights/{payload['path_name']}"] = saved({name: Bomb(trace)})
    return zipped(parts)


def in_samples(archive: bytes, trace: Path) -> bytes:
    parts = members(archive)
    parts[SAMPLES] = saved(((torch.zeros(2, 1, 4, 4), Bomb(trace)), {}))
    return zipped(parts)


def test_a_pickle_among_the_weights_is_refused(archive: bytes, trace: Path) -> None:
    refuse(in_weight(archive, trace), "is a pickle")
    assert not trace.exists()


def test_a_pickle_among_the_sample_inputs_is_refused(archive: bytes, trace: Path) -> None:
    refuse(in_samples(archive, trace), "sample inputs")
    assert not trace.exists()


@pytest.mark.parametrize("prefix", ["opaque_obj_", "custom_obj_", "tensor_"])
def test_a_pickle_among_the_constants_is_refused(archive: bytes, trace: Path, prefix: str) -> None:
    parts = members(archive)
    parts[CONSTANTS] = json.dumps(
        {
            "config": {
                "planted": {
                    "path_name": f"{prefix}0",
                    "is_param": False,
                    "use_pickle": True,
                    "tensor_meta": None,
                }
            }
        }
    ).encode()
    parts[f"archive/data/constants/{prefix}0"] = pickle.dumps(Bomb(trace))
    refuse(zipped(parts), "member|pickle")
    assert not trace.exists()


def code(trace: Path) -> str:
    return f"__import__('os').mkdir({str(trace)!r})"


def set_size(graph: Any, text: str) -> None:
    values = graph["graph_module"]["graph"]["tensor_values"]
    for meta in values.values():
        for size in meta["sizes"]:
            if "as_expr" in size:
                size["as_expr"]["expr_str"] = text


def first_node(graph: Any) -> Any:
    return graph["graph_module"]["graph"]["nodes"][0]


EDITS: dict[str, tuple[Callable[[Any, str], None], str]] = {
    "size": (lambda g, c: set_size(g, c), "size"),
    "size in a symbol": (lambda g, c: set_size(g, f'Symbol("{c}")'), "size"),
    "size in a sum": (lambda g, c: set_size(g, f'Add("{c}", 1)'), "size"),
    "guard": (lambda g, c: g.update(guards_code=[c]), "guards"),
    "operator of torch": (lambda g, c: first_node(g).update(target="torch.os.mkdir"), "operator"),
    "operator of operator": (
        lambda g, c: first_node(g).update(target="_operator.attrgetter"),
        "operator",
    ),
    "extension": (lambda g, c: first_node(g).update(target="#x:y"), "operator"),
    "file": (lambda g, c: first_node(g).update(target="torch.ops.aten.from_file.default"), "taken"),
    "writing": (lambda g, c: first_node(g).update(target="torch.ops.aten.relu_.default"), "writes"),
    "private": (lambda g, c: first_node(g).update(target="torch.ops.aten._print.default"), "taken"),
    "unknown": (lambda g, c: first_node(g).update(target="torch.ops.aten.nonsense.x"), "known"),
    "argument": (
        lambda g, c: first_node(g)["inputs"][0].update(arg={"as_operator": "torch.os.mkdir"}),
        "kind 'as_operator'",
    ),
    "submodule": (
        lambda g, c: first_node(g)["inputs"][0].update(arg={"as_graph": {"name": "a"}}),
        "kind 'as_graph'",
    ),
    "input name": (
        lambda g, c: g["graph_module"]["graph"]["inputs"][-1]["as_tensor"].update(name=f"x={c}"),
        "name",
    ),
    "node name": (lambda g, c: first_node(g).update(name=c), "name"),
    "parameter name": (
        lambda g, c: g["graph_module"]["signature"]["input_specs"][0]["parameter"].update(
            parameter_name="__class__"
        ),
        "parameter_name",
    ),
    "tree": (
        lambda g, c: g["graph_module"]["module_call_graph"][0]["signature"].update(
            out_spec=json.dumps(
                [1, {"type": "collections.defaultdict", "context": c, "children_spec": []}]
            )
        ),
        "tuple",
    ),
    "script object": (
        lambda g, c: g["graph_module"]["graph"].update(
            custom_obj_values={"a": {"name": "a", "class_fqn": "b"}}
        ),
        "custom_obj_values",
    ),
    "structure": (lambda g, c: g.pop("graph_module"), "torch.export writes"),
    "device": (
        lambda g, c: g["graph_module"]["graph"]["tensor_values"]["p_layers_1_weight"].update(
            device={"type": "cuda", "index": 0}
        ),
        "CPU",
    ),
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_graph_that_torch_would_turn_into_code_is_refused(
    archive: bytes, trace: Path, edit: str
) -> None:
    change, match = EDITS[edit]
    refuse(edited(archive, GRAPH, lambda graph: change(graph, code(trace))), f"(?i){match}")
    assert not trace.exists()


@pytest.mark.parametrize(
    "name",
    [
        "archive/extra/readme.txt",
        "archive/data/weights/../../../../etc/passwd",
        "/archive/models/model.json",
        "archive/data/aotinductor/model/code.so",
        "archive/models/other.json",
        "other/archive_format",
        "archive/data/weights/weight_99",
        "archive/data/weights/model.pt",
    ],
)
def test_unknown_members_are_refused(archive: bytes, name: str) -> None:
    refuse(zipped(members(archive) | {name: b"x"}), "member|Members|root")


def test_a_member_given_twice_is_refused(archive: bytes) -> None:
    buffer = io.BytesIO(archive)
    with zipfile.ZipFile(buffer, "a") as opened, pytest.warns(UserWarning, match="Duplicate"):
        opened.writestr(GRAPH, b"{}")
    refuse(buffer.getvalue(), "member")


def test_a_compressed_archive_is_refused(archive: bytes) -> None:
    refuse(zipped(members(archive), zipfile.ZIP_DEFLATED), "compressed")


def test_sizes_over_the_limit_are_refused(archive: bytes) -> None:
    size = len(archive)
    assert open_archive(archive, Limits(archive_bytes=size))
    with pytest.raises(ProgramRefused, match="at most"):
        load_program(archive, limits=Limits(archive_bytes=size - 1))
    count = len(members(archive))
    for limit in (Limits(graph_bytes=100), Limits(members=count - 1)):
        with pytest.raises(ProgramRefused, match=r"large|members"):
            load_program(archive, limits=limit)


def test_an_archive_that_claims_to_unfold_is_refused(archive: bytes) -> None:
    """The directory says that one stored member has 4 GB: refused before it is read."""
    data = bytearray(archive)
    entry = data.rindex(b"PK\x01\x02")
    struct.pack_into("<I", data, entry + 24, 0xFFFFFFF0)
    refuse(bytes(data), "unfolds")


@pytest.mark.parametrize("data", [b"", b"PK", b"no zip at all", b"\x80\x04N."])
def test_what_is_no_archive_is_refused(data: bytes) -> None:
    refuse(data, "zip")


def test_a_truncated_archive_is_refused_at_every_length(archive: bytes) -> None:
    for length in range(0, len(archive), 997):
        with pytest.raises(ProgramRefused):
            load_program(archive[:length])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sizes", [{"as_int": 1 << 40}, {"as_int": 16}]),
        ("sizes", [{"as_int": -5}, {"as_int": 16}]),
        ("strides", [{"as_int": 0}, {"as_int": 0}]),
        ("storage_offset", {"as_int": 1}),
        ("dtype", 10),
        ("layout", 1),
    ],
)
def test_a_weight_that_is_not_its_bytes_is_refused(
    archive: bytes, field: str, value: object
) -> None:
    def change(config: Any) -> None:
        config["config"]["layers.1.weight"]["tensor_meta"][field] = value

    refuse(edited(archive, WEIGHTS, change), r"layers\.1\.weight")


def test_a_missing_weight_is_refused(archive: bytes) -> None:
    refuse(
        edited(archive, WEIGHTS, lambda config: config["config"].pop("layers.1.weight")),
        "belong to no tensor",
    )


@pytest.mark.parametrize("member", [GRAPH, WEIGHTS])
def test_a_changed_byte_never_escapes_as_another_error(archive: bytes, member: str) -> None:
    """With the zip's checksums made right again: refused, or another hash, or the same answers."""
    original = load_program(archive)
    images = torch.rand(2, 1, 4, 4)
    parts = members(archive)
    generator = torch.Generator().manual_seed(7)
    refused = 0
    for position in torch.randint(len(parts[member]), (120,), generator=generator).tolist():
        data = bytearray(parts[member])
        data[position] ^= 1 << (position % 7)
        try:
            program = load_program(zipped(parts | {member: bytes(data)}))
        except ProgramRefused:
            refused += 1
            continue
        if program.hash == original.hash:  # the byte was of something left out
            assert torch.equal(program([images])[0], original([images])[0])
    assert refused > 60


def test_contents_are_frozen(archive: bytes) -> None:
    contents = open_archive(archive)
    with pytest.raises(dataclasses.FrozenInstanceError):
        contents.weights = ()  # type: ignore[misc]


@contextlib.contextmanager
def threads_take_turns_anywhere() -> Iterator[None]:
    """Also within calls of C that make objects: the collector runs, and with it Python code."""
    thresholds, interval = gc.get_threshold(), sys.getswitchinterval()
    gc.set_threshold(10)
    gc.callbacks.append(lambda *_: sum(range(50)))
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
        gc.callbacks.pop()
        gc.set_threshold(*thresholds)


def test_archives_are_read_in_several_threads(archive: bytes) -> None:
    """A process that serves several models loads them so."""
    with threads_take_turns_anywhere(), ThreadPoolExecutor(4) as threads:
        read = list(threads.map(open_archive, [archive] * MANY))
    assert [one.graph for one in read] == MANY * [open_archive(archive).graph]
