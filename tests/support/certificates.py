"""Certificates for tests: authorities that last as long as the test, and folders of their files."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

DAY = timedelta(days=1)


class Authority:
    """Vouches for names; `folder` is where everything is kept."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._authority = trustme.CA()

    def certify(
        self,
        name: str,
        *,
        names: tuple[str, ...] = ("localhost", "127.0.0.1"),
        trusts: "Authority | None" = None,
        days: tuple[int, int] = (-1, 1),
    ) -> Path:
        """A new folder with tls.crt and tls.key, and the ca.crt of whom its owner trusts.

        Args:
            name: of the folder.
            names: host names and addresses that the certificate is for.
            trusts: whose certificates its owner takes; None takes gRPC's default roots.
            days: from today, of its first and last moment.
        """
        folder = self._folder / name
        folder.mkdir(parents=True)
        begin, end = (datetime.now(UTC) + day * DAY for day in days)
        made = self._authority.issue_cert(*names, not_before=begin, not_after=end)
        made.private_key_pem.write_to_path(folder / "tls.key")
        for pem in made.cert_chain_pems:
            pem.write_to_path(folder / "tls.crt", append=True)
        if trusts is not None:
            trusts.vouch(folder)
        return folder

    def vouch(self, folder: Path) -> Path:
        """Put this authority's own certificate into a folder as ca.crt; returns the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        self._authority.cert_pem.write_to_path(folder / "ca.crt")
        return folder
