"""Certificates for all hops of one cluster, by authorities that are thrown away.

To try TLS out, and for clusters that live no longer than their certificates. There are two
authorities, one for clients and their master, one for the master and its workers; their keys are
kept nowhere, so that nobody ever adds to those whom they vouch for. Renewing single certificates
takes an authority of one's own.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from kofn.wire.tls import AUTHORITY, CERTIFICATE, KEY, Tls, TlsError

# A folder each. Who listens: takes callers by the authority whose ca.crt it has. Who dials: shows
# its certificate. All four hold all three files.
MASTER, CLIENT = "master", "client"
WORKER, WORKERS = "worker", "workers"  # a worker's own; what a master dials workers with
HERE = ("localhost", "127.0.0.1")
VALID = timedelta(days=365)


def provide_certificates(
    folder: Path, masters: Sequence[str] = (), workers: Sequence[str] = ()
) -> bool:
    """Folders master, client, worker and workers for the flags --tls and --workers-tls.

    Args:
        folder: where to.
        masters, workers: host names and addresses by which they are dialled, beside `HERE`.

    Returns:
        Whether they were made now: a set that is whole and in date stays as it is.
    """
    if _are_there(folder):
        return False
    import trustme  # loads cryptography

    now = datetime.now(UTC)
    for listener, caller, names in ((MASTER, CLIENT, masters), (WORKER, WORKERS, workers)):
        authority = trustme.CA(organization_name="kofn, not kept")
        for name in (listener, caller):
            hosts = dict.fromkeys([*HERE, *names]) if name == listener else (name,)
            made = authority.issue_cert(
                *hosts, common_name=name, not_before=now - timedelta(days=1), not_after=now + VALID
            )
            chain = b"".join(pem.bytes() for pem in made.cert_chain_pems)
            _keep(folder / name, authority.cert_pem.bytes(), chain, made.private_key_pem.bytes())
    return True


def _are_there(folder: Path) -> bool:
    try:
        for name in (MASTER, CLIENT, WORKER, WORKERS):
            made = Tls.in_folder(folder / name)
            if None in (made.certificate, made.authority):
                return False
    except TlsError:
        return False
    return True


def _keep(folder: Path, authority: bytes, chain: bytes, key: bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / AUTHORITY).write_bytes(authority)
    (folder / CERTIFICATE).write_bytes(chain)
    (folder / KEY).unlink(missing_ok=True)
    (folder / KEY).touch(mode=0o600)
    (folder / KEY).write_bytes(key)
