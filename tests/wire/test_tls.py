"""TLS: what is refused at once, and what a failed handshake says, on both of gRPC's stacks."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from kofn.wire.errors import NOT_CONNECTED, TLS_REFUSED, Unavailable, from_rpc_error
from kofn.wire.tls import Tls, TlsError
from support.certificates import Authority
from support.echo import ask, ask_blocking, echoing


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ours"))


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("theirs"))


@pytest.fixture(scope="module")
def server(ours: Authority) -> Path:
    """Of a server that anybody may call."""
    return ours.certify("server")


@pytest.fixture(scope="module")
def mutual(ours: Authority) -> Path:
    """Of a server that wants to know its clients."""
    return ours.certify("mutual", trusts=ours)


@pytest.fixture(scope="module")
def client(ours: Authority) -> Path:
    return ours.certify("client", names=("client",), trusts=ours)


@pytest.fixture(scope="module")
def anonymous(ours: Authority, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a client that knows the authority and has no certificate."""
    return ours.vouch(tmp_path_factory.mktemp("anonymous"))


async def refusals(address: str, folder: Path | None, peer_name: str | None = None) -> list[str]:
    """What both stacks say, told as reason and words."""
    tls = None if folder is None else Tls.in_folder(folder, peer_name)
    told = []
    for asking in (ask(address, tls), asyncio.to_thread(ask_blocking, address, tls)):
        with pytest.raises(grpc.RpcError) as caught:
            await asking
        error = from_rpc_error(caught.value)
        assert isinstance(error, Unavailable)
        told.append(f"{error.reason}: {error}")
    return told


async def test_tls_and_mutual_tls(
    server: Path, mutual: Path, client: Path, anonymous: Path
) -> None:
    """By address, with and without a client's certificate, and by a name that is not dialled."""
    for folder, asks in ((server, anonymous), (server, client), (mutual, client)):
        async with echoing(Tls.in_folder(folder)) as address:
            assert await ask(address, Tls.in_folder(asks)) == b"hello"
            assert await ask(address, Tls.in_folder(asks, "localhost")) == b"hello"
            blocking = asyncio.to_thread(ask_blocking, address, Tls.in_folder(asks))
            assert await blocking == b"hello"


async def test_a_client_that_does_not_trust_the_server(
    server: Path, client: Path, theirs: Authority, tmp_path: Path
) -> None:
    """Another authority, the default roots, another name: told apart, and no use repeating."""
    distrusts = theirs.vouch(tmp_path / "distrusts")
    default_roots = theirs.certify("default-roots")
    async with echoing(Tls.in_folder(server)) as address:
        for folder in (distrusts, default_roots):
            for told in await refusals(address, folder):
                assert told.startswith(f"{TLS_REFUSED}: ")
                assert "not by the authority given here" in told
        for told in await refusals(address, client, "elsewhere"):
            assert told.startswith(f"{TLS_REFUSED}: ")
            assert "another name" in told


async def test_a_client_that_the_server_does_not_know(
    mutual: Path, anonymous: Path, ours: Authority, theirs: Authority
) -> None:
    """No certificate, one by a stranger, no TLS: the server hangs up, and that is all one hears."""
    stranger = theirs.certify("stranger", trusts=ours)
    async with echoing(Tls.in_folder(mutual)) as address:
        for folder in (anonymous, stranger, None):
            for told in await refusals(address, folder):
                assert told.startswith(f"{NOT_CONNECTED}: ")
                assert "may speak TLS only, or want a client certificate" in told


async def test_a_server_without_tls(client: Path) -> None:
    async with echoing() as address:
        for told in await refusals(address, client):
            assert told.startswith(f"{TLS_REFUSED}: ")
            assert "speaks no TLS" in told


async def test_certificates_that_expire_while_they_are_used(
    ours: Authority, mutual: Path, client: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Good at the start, refused by the other side later; here: not checked at the start."""
    monkeypatch.setattr("kofn.wire.tls._date_problem", lambda certificate: None)
    old_server = ours.certify("old-server", days=(-3, -1))
    old_client = ours.certify("old-client", days=(-3, -1), trusts=ours)
    async with echoing(Tls.in_folder(old_server)) as address:
        for told in await refusals(address, client):
            assert told.startswith(f"{TLS_REFUSED}: ")
            assert "has expired" in told
    async with echoing(Tls.in_folder(mutual)) as address:
        for told in await refusals(address, old_client):
            assert told.startswith(f"{NOT_CONNECTED}: ")


def unreadable(folder: Path) -> None:
    (folder / "tls.crt").unlink()
    (folder / "tls.crt").mkdir()


def missing_key(folder: Path) -> None:
    (folder / "tls.key").unlink()


def no_certificate(folder: Path) -> None:
    (folder / "tls.crt").write_text("nothing of the kind")


def no_key(folder: Path) -> None:
    (folder / "tls.key").write_text("nothing of the kind")


def empty(folder: Path) -> None:
    for file in list(folder.iterdir()):
        file.unlink()


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (unreadable, "tls.crt: cannot be read: Is a directory"),
        (missing_key, "'certificate' and 'key' together"),
        (no_certificate, "tls.crt: must be certificates in PEM"),
        (no_key, "tls.key: must be a private key in PEM without a passphrase"),
        (empty, "must have tls.crt and tls.key, ca.crt, or all three"),
    ],
)
def test_files_that_are_refused(
    ours: Authority, request: pytest.FixtureRequest, spoil: Callable[[Path], None], told: str
) -> None:
    folder = ours.certify(request.node.name, trusts=ours)
    spoil(folder)
    with pytest.raises(TlsError, match=told):
        Tls.in_folder(folder)


def test_a_key_of_another_certificate(ours: Authority) -> None:
    one, other = ours.certify("one"), ours.certify("other")
    with pytest.raises(TlsError, match=r"other/tls.key: is not the key of .*one/tls.crt"):
        Tls(one / "tls.crt", other / "tls.key")


@pytest.mark.parametrize(
    ("days", "told"), [((-3, -1), "has expired, 2"), ((1, 3), "valid from .* on only")]
)
def test_certificates_out_of_their_time(
    ours: Authority, request: pytest.FixtureRequest, days: tuple[int, int], told: str
) -> None:
    with pytest.raises(TlsError, match=told):
        Tls.in_folder(ours.certify(request.node.name, days=days))


def test_an_authority_out_of_its_time(ours: Authority, client: Path, tmp_path: Path) -> None:
    """Refused alone; beside one that is valid, as in the bundles of systems, it does no harm."""
    old = ours.certify("old-authority", days=(-3, -1)) / "tls.crt"
    with pytest.raises(TlsError, match="has expired"):
        Tls(authority=old)
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(old.read_bytes() + (client / "ca.crt").read_bytes())
    Tls(authority=bundle)


def test_a_certificate_needs_its_key(server: Path) -> None:
    for half in (Tls.in_folder(server).certificate, None):
        key = server / "tls.key" if half is None else None
        with pytest.raises(TlsError, match="'certificate' and 'key' together"):
            Tls(certificate=half, key=key)


def test_a_server_needs_a_certificate(anonymous: Path) -> None:
    with pytest.raises(TlsError, match="needs 'certificate' and 'key'"):
        Tls.in_folder(anonymous).server_credentials()
