"""Program archives: opened, vetted, hashed and written again, before torch reads any of them.

`torch.export.load` executes pickles that an archive asks it to: weights and constants marked so,
script objects, and sample inputs that its safe unpickler refuses. So the zip is read here first,
by Python alone; what is not plain tensors and a checked graph is refused, and torch is only ever
given an archive written anew by `pack` from the parts that were vetted and hashed. What the two
zip readers might read differently (duplicate names, hidden members) therefore never matters.

Does not run programs (`models/programs.py`) and does not judge graphs (`models/graphs.py`).
In the query's way: nowhere; once for each program, before it is loaded.
"""

import hashlib
import io
import json
import math
import re
import warnings
import zipfile
from dataclasses import dataclass
from typing import Any

import torch

from models.graphs import canonical_graph
from models.refusals import ProgramRefused

# Element types by torch's serial number: Open Inference name and bytes an element.
DATATYPES: dict[int, tuple[str, int]] = {
    1: ("UINT8", 1),
    2: ("INT8", 1),
    3: ("INT16", 2),
    4: ("INT32", 4),
    5: ("INT64", 8),
    6: ("FP16", 2),
    7: ("FP32", 4),
    8: ("FP64", 8),
    12: ("BOOL", 1),
    13: ("BF16", 2),
}
STRIDED = 7  # torch's number for a plain dense layout

MEMBER = re.compile(
    r"(?P<root>[A-Za-z0-9_-]{1,100})/(?P<path>"
    r"data/weights/(?:weight_\d{1,6}|model_weights_config\.json)"
    r"|data/constants/(?:tensor_\d{1,6}|model_constants_config\.json)"
    r"|data/sample_inputs/model\.pt|models/model\.json"
    r"|archive_format|archive_version|byteorder|\.data/version|\.data/serialization_id)"
)
GRAPH = "models/model.json"
SAMPLE_INPUTS = "data/sample_inputs/model.pt"
FOLDERS = (
    ("data/weights/", "model_weights_config.json", "weight_"),
    ("data/constants/", "model_constants_config.json", "tensor_"),
)
FIXED = {"archive_format": b"pt2", "archive_version": b"0", "byteorder": b"little"}


@dataclass(frozen=True)
class Limits:
    """The largest archive that is opened, in bytes and members."""

    archive_bytes: int = 1 << 30  # ResNet-152 in float32 is 0.24 GB
    graph_bytes: int = 16 << 20  # as JSON; ResNet-18 with its stack traces is 0.2 MB
    sample_bytes: int = 64 << 20
    members: int = 20_000


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True)
class Weight:
    """One parameter, buffer or constant: C-contiguous little-endian bytes on the CPU."""

    name: str
    is_constant: bool  # kept in the archive's constants, not among its weights
    is_parameter: bool
    dtype: int  # key of DATATYPES
    shape: tuple[int, ...]
    data: bytes


@dataclass(frozen=True)
class Contents:
    """What is in an archive, vetted: all that a program's behaviour depends on."""

    graph: dict[str, Any]  # as `canonical_graph` gives it
    weights: tuple[Weight, ...]  # by kind and name


def open_archive(archive: bytes, limits: Limits = DEFAULT_LIMITS) -> Contents:
    """Vet an archive without letting torch load it.

    Args:
        archive: the bytes of a `.pt2` file.
        limits: the largest one taken.

    Raises:
        ProgramRefused: not an archive of one plain program, or one that could run code.
    """
    members = _members(archive, limits)
    for path, value in FIXED.items():
        if members.get(path, value).strip() != value:
            raise ProgramRefused(f"Member {path} must say {value!r}, not {members[path][:20]!r}.")
    if GRAPH not in members:
        raise ProgramRefused(f"The archive has no {GRAPH}.")
    _check_samples(members.get(SAMPLE_INPUTS, b""))
    graph = canonical_graph(_json(GRAPH, members[GRAPH]))
    weights: list[Weight] = []
    for folder, config, prefix in FOLDERS:
        weights += _weights(members, folder, config, prefix)
    _check_bound(graph, weights)
    return Contents(graph, tuple(sorted(weights, key=lambda weight: _order(weight))))


def content_hash(archive: bytes, limits: Limits = DEFAULT_LIMITS) -> str:
    """The name of what an archive computes: 64 hex digits, the same for every export of one module.

    Raises:
        ProgramRefused: as of `open_archive`.
    """
    return hash_contents(open_archive(archive, limits))


def hash_contents(contents: Contents) -> str:
    """SHA-256 over the graph (sorted keys) and each weight's name, type, shape and bytes."""
    digest = hashlib.sha256()

    def add(part: bytes) -> None:
        digest.update(len(part).to_bytes(8, "big"))  # so that no two lists of parts run together
        digest.update(part)

    add(_text(contents.graph))
    for weight in contents.weights:
        add(_text([*_order(weight), weight.is_parameter, weight.dtype, weight.shape]))
        add(weight.data)
    return digest.hexdigest()


def pack(contents: Contents) -> bytes:
    """Write an archive that `torch.export.load` reads; equal contents give equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:

        def write(path: str, data: bytes) -> None:
            archive.writestr(zipfile.ZipInfo(f"archive/{path}"), data)  # dated 1980: no clock

        for path, value in FIXED.items():
            write(path, value)
        write(".data/version", b"6\n")  # of the container; torch writes this one
        write(GRAPH, _text(contents.graph))
        write(SAMPLE_INPUTS, b"")
        for is_constant, (folder, config, prefix) in enumerate(FOLDERS):
            chosen = [w for w in contents.weights if w.is_constant == bool(is_constant)]
            listed = {w.name: _payload(w, f"{prefix}{i}") for i, w in enumerate(chosen)}
            write(folder + config, _text({"config": listed}))
            for index, weight in enumerate(chosen):
                write(f"{folder}{prefix}{index}", weight.data)
    return buffer.getvalue()


def _members(archive: bytes, limits: Limits) -> dict[str, bytes]:
    """Every member by its path under the archive's one root folder."""
    if len(archive) > limits.archive_bytes:
        raise ProgramRefused(
            f"The archive must have at most {limits.archive_bytes} bytes, not {len(archive)}."
        )
    members: dict[str, bytes] = {}
    roots: set[str] = set()
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            entries = opened.infolist()
            if len(entries) > limits.members:
                raise ProgramRefused(f"The archive has more than {limits.members} members.")
            for entry in entries:
                if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
                    raise ProgramRefused("The archive has members compressed or encrypted.")
            # Members are stored, not compressed: their sum can only pass the archive's length
            # where entries overlap, as they do in a bomb.
            if sum(entry.file_size for entry in entries) > len(archive):
                raise ProgramRefused("The archive unfolds to more bytes than it has.")
            for entry in entries:
                match = MEMBER.fullmatch(entry.filename)
                if match is None or match["path"] in members:
                    raise ProgramRefused(f"The archive has a member {entry.filename[:200]!r}.")
                most = {GRAPH: limits.graph_bytes, SAMPLE_INPUTS: limits.sample_bytes}
                if entry.file_size > most.get(match["path"], limits.archive_bytes):
                    raise ProgramRefused(f"Member {entry.filename!r} is too large.")
                roots.add(match["root"])
                members[match["path"]] = opened.read(entry)
    except ProgramRefused:
        raise
    except Exception as error:  # bytes of a stranger: whatever they make zipfile raise, refuse
        raise ProgramRefused(f"The archive is not a sound zip file: {error}") from error
    if len(roots) != 1:
        raise ProgramRefused(f"The archive must have one root folder, not {sorted(roots)}.")
    return members


def _check_samples(data: bytes) -> None:
    """Sample inputs are dropped unread; a pickle planted there is still a reason to refuse."""
    if not data:
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of formats; they are not used
            torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
    except Exception as error:  # bytes of a stranger: whatever they make torch raise, refuse
        raise ProgramRefused("The sample inputs are not plain tensors.") from error


def _weights(members: dict[str, bytes], folder: str, config: str, prefix: str) -> list[Weight]:
    """The tensors that a folder's configuration lists; its files and its list must agree."""
    listed = _json(folder + config, members.get(folder + config, b'{"config": {}}'))
    files = {path for path in members if path.startswith(folder + prefix)}
    weights: list[Weight] = []
    try:
        for name, payload in listed["config"].items():
            path = folder + str(payload["path_name"])
            if payload["use_pickle"] is not False:
                raise ProgramRefused(f"Tensor {name!r} is a pickle.")
            if path not in files:
                raise ProgramRefused(f"Tensor {name!r} is kept in {path!r}: no such plain tensor.")
            weights.append(_weight(name, payload, members[path], folder))
        unlisted = files - {folder + entry["path_name"] for entry in listed["config"].values()}
    except (KeyError, TypeError, AttributeError) as error:
        raise ProgramRefused(f"Member {folder + config} is malformed: {error!r}") from error
    if unlisted:
        raise ProgramRefused(f"Members {sorted(unlisted)[:3]} belong to no tensor.")
    return weights


def _weight(name: str, payload: Any, data: bytes, folder: str) -> Weight:
    meta = payload["tensor_meta"]
    shape = tuple(size["as_int"] for size in meta["sizes"])
    strides = tuple(stride["as_int"] for stride in meta["strides"])
    numbers = (*shape, *strides, meta["dtype"], meta["storage_offset"]["as_int"])
    if any(type(number) is not int or number < 0 for number in numbers):
        raise ProgramRefused(f"Tensor {name!r} has sizes that are no whole numbers.")
    if meta["dtype"] not in DATATYPES or meta["layout"] != STRIDED:
        raise ProgramRefused(f"Tensor {name!r} has a type or layout that is not taken.")
    if meta["storage_offset"]["as_int"] or strides != _contiguous(shape):
        raise ProgramRefused(f"Tensor {name!r} must be contiguous.")
    size_bytes = math.prod(shape) * DATATYPES[meta["dtype"]][1]
    if size_bytes != len(data):
        raise ProgramRefused(f"Tensor {name!r} must have {size_bytes} bytes, not {len(data)}.")
    return Weight(
        name=name,
        is_constant=folder.endswith("constants/"),
        is_parameter=bool(payload["is_param"]),
        dtype=meta["dtype"],
        shape=shape,
        data=data,
    )


def _check_bound(graph: dict[str, Any], weights: list[Weight]) -> None:
    """The tensors that the graph names are the tensors that the archive holds."""
    specs = graph["graph_module"]["signature"]["input_specs"]
    named = {
        str(value)
        for spec in specs
        for entry in spec.values()
        for key, value in entry.items()
        if key in ("parameter_name", "buffer_name", "tensor_constant_name")
    }
    held = {weight.name for weight in weights}
    if named != held or len(held) != len(weights):
        raise ProgramRefused(
            f"The graph's tensors and the archive's differ: {sorted(named ^ held)[:3]}."
        )


def _payload(weight: Weight, path_name: str) -> dict[str, Any]:
    return {
        "path_name": path_name,
        "is_param": weight.is_parameter,
        "use_pickle": False,
        "tensor_meta": {
            "dtype": weight.dtype,
            "sizes": [{"as_int": size} for size in weight.shape],
            "requires_grad": False,
            "device": {"type": "cpu", "index": None},
            "strides": [{"as_int": stride} for stride in _contiguous(weight.shape)],
            "storage_offset": {"as_int": 0},
            "layout": STRIDED,
        },
    }


def _contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of a C-contiguous tensor as torch counts them: empty dimensions count as one."""
    return tuple(
        math.prod(max(size, 1) for size in shape[axis + 1 :]) for axis in range(len(shape))
    )


def _order(weight: Weight) -> tuple[bool, str]:
    return (weight.is_constant, weight.name)


def _text(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _json(path: str, data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ProgramRefused(f"Member {path} is not JSON: {error}") from error
