"""A real OpenBao that makes users of a real PostgreSQL, each for as long as its lease."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hvac.exceptions import Forbidden

from tests.support.openbao import OpenBao
from tests.support.postgres_server import PostgresServer

pytestmark = pytest.mark.interop


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    """A server with a table that users read, and one that they do not."""
    server = PostgresServer()
    try:
        server.start()
        server.execute("CREATE TABLE documents (text text)", "CREATE TABLE others (text text)")
        server.execute("INSERT INTO documents VALUES ('found')")
        yield server
    finally:
        server.remove()


def test_a_user_of_the_database_ends_with_its_lease(tmp_path: Path, postgres: PostgresServer) -> None:
    with OpenBao(tmp_path / "openbao") as bao:
        bao.postgres_engine(postgres, "reader", "10m", max_ttl="1h", grants=["SELECT ON documents"])
        bao.policy("reader", 'path "database/creds/reader" { capabilities = ["read"] }')
        client = bao.client(bao.token(["reader"], "2h"))
        lease = client.read("database/creds/reader")
        assert lease["lease_duration"] == 600
        assert lease["renewable"]
        assert client.sys.renew_lease(lease["lease_id"], increment=1200)["lease_duration"] == 1200
        other = client.read("database/creds/reader")
        assert query(postgres, lease["data"]) == query(postgres, other["data"]) == [("found",)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            query(postgres, lease["data"], "SELECT text FROM others")
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            query(postgres, lease["data"] | {"password": "wrong"})
        with pytest.raises(Forbidden):
            client.read("database/config/reader")

        bao.root.sys.revoke_lease(lease["lease_id"])
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            query(postgres, lease["data"])
        assert query(postgres, other["data"]) == [("found",)]
        assert other["data"]["password"] not in bao.audit_log.read_text()


def query(server: PostgresServer, user: dict[str, str], statement: str = "SELECT text FROM documents") -> list[Any]:
    """Ask as a user that OpenBao made."""
    with psycopg.connect(server.url_of(user["username"]), password=user["password"]) as connection:
        return connection.execute(statement.encode()).fetchall()
