"""A worker that trusts one master's key: what is signed runs, and nothing else, whoever kept it."""

from pathlib import Path
from typing import Any

import grpc
import pytest

from kofn.settings import SettingsError
from kofn.wire.errors import from_rpc_error
from kofn.wire.signing import sign, signing_key
from kofn.wire.tensors import from_wire
from support.certificates import Authority
from support.keys import key_pair
from worker.config import read_config


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Any, Path]:
    """A master's key, and the file that a worker is given."""
    private, public = key_pair(tmp_path / "keys")
    return signing_key(private), public


async def refusal(call: Any) -> Any:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)


async def test_a_signed_program_is_served(
    start: Any, connect: Any, doubled: Any, keys: Any
) -> None:
    """Pushed with its signature, in chunks, and run on the stream and as a plain call."""
    key, public = keys
    master = connect((await start(trust=public)).address)
    signature = sign(key, doubled.name)
    await master.push(doubled.data, doubled.name, chunk_bytes=1000, signature=signature)
    await master.open()
    await master.send(master.task(1))
    assert from_wire((await master.read()).result.outputs[0]).tolist() == [[2.0] * 3]
    assert from_wire((await master.run(master.task(2))).outputs[0]).tolist() == [[4.0] * 3]


async def test_others_are_refused(
    start: Any, connect: Any, doubled: Any, keys: Any, tmp_path: Path
) -> None:
    """Unsigned, signed by another, the signature of another program, half a signature."""
    key, public = keys
    stranger = signing_key(key_pair(tmp_path / "stranger")[0])
    right = sign(key, doubled.name)
    master = connect((await start(trust=public)).address)
    for wrong in (b"", sign(stranger, doubled.name), sign(key, "f" * 64), right[:32]):
        for data in (doubled.data, b""):
            error = await refusal(master.push(data, doubled.name, signature=wrong))
            assert (error.status.name, error.reason) == ("PERMISSION_DENIED", "unsigned-program")
            assert "--signing-key" in str(error)
    error = await refusal(master.run(master.task(1)))
    assert error.status.name == "PERMISSION_DENIED"
    assert list((await master.open()).programs) == []


async def test_what_was_signed_cannot_be_exchanged(
    start: Any, connect: Any, doubled: Any, keys: Any
) -> None:
    """A signature is of contents: bytes changed on the way are another program."""
    key, public = keys
    master = connect((await start(trust=public)).address)
    signature = sign(key, doubled.name)
    tampered = bytearray(doubled.data)
    tampered[len(tampered) // 2] ^= 1
    error = await refusal(master.push(bytes(tampered), doubled.name, signature=signature))
    assert error.status.name in ("INVALID_ARGUMENT", "FAILED_PRECONDITION")
    assert list((await master.open()).programs) == []


async def test_a_program_on_disk_needs_its_signature(
    start: Any, dial: Any, connect: Any, doubled: Any, keys: Any
) -> None:
    """Put there by a worker that trusts anybody; a signature without the data is enough."""
    await dial(await start())
    key, public = keys
    master = connect((await start(name="careful", trust=public)).address)
    assert list((await master.open()).programs) == [doubled.name]
    await master.send(master.task(1))
    result = (await master.read()).result
    assert (result.code, result.reason[:16]) == (7, "unsigned-program")
    await master.push(b"", doubled.name, signature=sign(key, doubled.name))
    await master.send(master.task(2))
    assert (await master.read()).result.code == 0


def test_keys_that_are_refused(tmp_path: Path) -> None:
    """At the start, with the file's name and what is accepted."""
    private, public = key_pair(tmp_path)
    certificate = Authority(tmp_path).certify("tls")
    for file, told in (
        (tmp_path / "nowhere.pem", "cannot be read: No such file"),
        (private, "must be a public Ed25519 key in PEM"),
        (certificate / "tls.crt", "must be a public Ed25519 key in PEM"),
    ):
        with pytest.raises(SettingsError, match=f"trust: key file {file}: {told}"):
            read_config(None, {"trust": file})
    for file in (public, certificate / "tls.key"):
        with pytest.raises(ValueError, match="must be a private Ed25519 key in PEM"):
            signing_key(file)
