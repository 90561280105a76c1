"""`kofn certificates`: what it makes is taken by every hop, and nobody else's is."""

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from kofn import certificates
from kofn.certificates import CLIENT, MASTER, WORKER, WORKERS, provide_certificates
from kofn.wire.tls import Tls


def certificate(folder: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate((folder / "tls.crt").read_bytes())


def vouches(authority: Path, for_: Path) -> bool:
    """Whether one folder's authority signed another's certificate."""
    issuer = x509.load_pem_x509_certificate((authority / "ca.crt").read_bytes())
    try:
        certificate(for_).verify_directly_issued_by(issuer)
    except Exception:  # noqa: BLE001 - the wrong name, or cryptography's own InvalidSignature
        return False
    return True


def test_both_ends_of_a_hop_take_each_other_and_nobody_else(tmp_path: Path) -> None:
    assert provide_certificates(tmp_path, masters=["master"], workers=["worker", "10.0.0.7"])
    folders = {name: tmp_path / name for name in (MASTER, CLIENT, WORKER, WORKERS)}
    front, back = {MASTER, CLIENT}, {WORKER, WORKERS}
    for name, folder in folders.items():
        assert Tls.in_folder(folder).authority is not None
        taken = {other for other in folders if vouches(folder, folders[other])}
        assert taken == (front if name in front else back)
        assert stat.S_IMODE((folder / "tls.key").stat().st_mode) == 0o600
    names = certificate(folders[WORKER]).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert names.value.get_values_for_type(x509.DNSName) == ["localhost", "worker"]
    addresses = map(str, names.value.get_values_for_type(x509.IPAddress))
    assert list(addresses) == ["127.0.0.1", "10.0.0.7"]


def test_a_whole_set_stays_and_another_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert provide_certificates(tmp_path)
    before = certificate(tmp_path / MASTER)
    assert not provide_certificates(tmp_path)
    assert certificate(tmp_path / MASTER) == before
    (tmp_path / WORKERS / "ca.crt").unlink()
    assert provide_certificates(tmp_path)
    assert certificate(tmp_path / MASTER) != before
    monkeypatch.setattr(certificates, "VALID", timedelta(seconds=-1))
    (tmp_path / CLIENT / "tls.crt").unlink()
    assert provide_certificates(tmp_path), "of a set that is past its time"
    assert certificate(tmp_path / CLIENT).not_valid_after_utc < datetime.now(UTC)
    assert provide_certificates(tmp_path)
