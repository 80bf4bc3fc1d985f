"""The address of a PostgreSQL: read once, never shown with its password, never reached in the clear over a network."""

import ipaddress
from dataclasses import dataclass

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from audit.errors import AuditStoreError

CONNECT_SECONDS = 5
"""How long one host may take to answer a new connection."""

_EXAMPLE = "postgresql://govgateway@db.example.org/audit"
_SECRETS = ("password", "sslpassword")
_DEFAULTS = {
    "application_name": "govgateway",
    "connect_timeout": str(CONNECT_SECONDS),
    # A server that vanished without a word is noticed within seconds, not after the kernel's two hours.
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}


@dataclass(frozen=True, slots=True)
class PostgresAddress:
    """Where a database is.

    Attributes:
        parameters: libpq's connection parameters.
        shown: the same for people, without secrets.
    """

    parameters: dict[str, str]
    shown: str

    def hide(self, text: str) -> str:
        """Return a text of the driver without the secrets of this address."""
        for name in _SECRETS:
            secret = self.parameters.get(name)
            if secret:
                text = text.replace(secret, "***")
        return text


def parse_url(url: str) -> PostgresAddress:
    """Read a libpq URL; several hosts, `service`, `passfile` and TLS parameters are libpq's own.

    Over a network the server's certificate and name are always verified: `sslmode` is `verify-full`, with the
    system's authorities unless `sslrootcert` names others.

    Raises:
        AuditStoreError: it is no URL of a PostgreSQL, or asks for a connection that verifies less.
    """
    if not url.startswith(("postgresql://", "postgres://")):
        raise AuditStoreError(f"the address of the audit database is no PostgreSQL URL such as {_EXAMPLE}")
    try:
        given = {name: str(value) for name, value in conninfo_to_dict(url).items() if value is not None}
    except ProgrammingError:
        # Not `from error`: libpq quotes the part that it does not understand, which may be the password.
        raise AuditStoreError(
            f"the address of the audit database is no PostgreSQL URL such as {_EXAMPLE}: libpq does not understand it; "
            f"write special characters of the password as %XX, or keep it in a passfile"
        ) from None
    parameters = {**_DEFAULTS, **given}
    if not _stays_on_this_machine(given):
        if parameters.setdefault("sslmode", "verify-full") != "verify-full":
            raise AuditStoreError(
                f"sslmode={parameters['sslmode']} does not verify the audit database; use sslmode=verify-full, and "
                f"sslrootcert=<file> where its certificate is from an authority of your own"
            )
        parameters.setdefault("sslrootcert", "system")
    return PostgresAddress(parameters, _shown(given))


def _stays_on_this_machine(given: dict[str, str]) -> bool:
    """Whether every host is a Unix socket or a loopback address. What is not said may be set elsewhere: no."""
    hosts = [host for name in ("host", "hostaddr") if name in given for host in given[name].split(",")]
    return bool(hosts) and all(_local(host) for host in hosts)


def _local(host: str) -> bool:
    if host.startswith(("/", "@")) or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _shown(given: dict[str, str]) -> str:
    hosts, ports = given.get("host", given.get("hostaddr", "")).split(","), given.get("port", "").split(",")
    places = [
        host + (f":{port}" if port else "")
        for host, port in zip(hosts, ports if len(ports) == len(hosts) else ports * len(hosts), strict=False)
    ]
    user = f"{given['user']}@" if "user" in given else ""
    return f"postgresql://{user}{','.join(places)}/{given.get('dbname', '')}"
