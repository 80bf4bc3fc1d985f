"""The address of a database: how it is shown, and which connections are refused."""

import pytest

from audit.errors import AuditStoreError
from audit.store import open_store
from audit.store.postgres_url import parse_url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:secret@db.example.org/audit", "postgresql://u@db.example.org/audit"),
        ("postgres://u:secret@db.example.org:5433/audit", "postgresql://u@db.example.org:5433/audit"),
        ("postgresql://u@/audit?host=/run/postgresql&password=secret", "postgresql://u@/run/postgresql/audit"),
        ("postgresql://u:secret@a:1,b:2/audit", "postgresql://u@a:1,b:2/audit"),
        ("postgresql:///audit?host=a,b&port=5&sslpassword=secret", "postgresql://a:5,b:5/audit"),
        ("postgresql://[::1]/audit?password=secret", "postgresql://::1/audit"),
    ],
)
def test_an_address_is_shown_without_its_secrets(url: str, shown: str):
    assert parse_url(url).shown == shown


def test_what_the_driver_says_is_shown_without_secrets():
    address = parse_url("postgresql://u:s%40cret@db.example.org/audit")
    assert address.hide('no password "s@cret" for u') == 'no password "***" for u'


@pytest.mark.parametrize("url", ["mysql://u:secret@h/d", "host=h password=secret", "sqlite:///secret"])
def test_another_address_is_refused_without_repeating_it(url: str):
    with pytest.raises(AuditStoreError, match="no PostgreSQL URL") as refused:
        parse_url(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("url", ["postgresql://u:se%cret@h/d", "postgresql://u:secret@h/d?secret=1"])
def test_an_address_that_is_malformed_is_refused_without_repeating_it(url: str):
    with pytest.raises(AuditStoreError, match="does not understand") as refused:
        parse_url(url)
    for secret in ("secret", "se%cret", "cret"):
        assert secret not in str(refused.value)


@pytest.mark.parametrize("host", ["db.example.org", "10.0.0.1", "db.example.org,localhost"])
def test_over_a_network_the_server_is_verified(host: str):
    parameters = parse_url(f"postgresql://{host}/audit").parameters
    assert parameters["sslmode"] == "verify-full"
    assert parameters["sslrootcert"] == "system"


def test_a_host_that_is_set_elsewhere_counts_as_a_network():
    assert parse_url("postgresql:///audit").parameters["sslmode"] == "verify-full"
    assert parse_url("postgresql:///audit?service=x").parameters["sslmode"] == "verify-full"
    assert parse_url("postgresql://localhost/audit?hostaddr=10.0.0.1").parameters["sslmode"] == "verify-full"


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer", "require", "verify-ca"])
def test_a_mode_that_verifies_less_is_refused_over_a_network(mode: str):
    with pytest.raises(AuditStoreError, match="sslmode=verify-full"):
        parse_url(f"postgresql://db.example.org/audit?sslmode={mode}")


@pytest.mark.parametrize("host", ["/run/postgresql", "127.0.0.1", "localhost", "::1"])
def test_on_this_machine_libpq_decides(host: str):
    assert "sslmode" not in parse_url(f"postgresql:///audit?host={host}").parameters


def test_an_authority_of_ones_own_is_taken():
    url = "postgresql://db.example.org/audit?sslmode=verify-full&sslrootcert=/etc/ca.pem"
    assert parse_url(url).parameters["sslrootcert"] == "/etc/ca.pem"


def test_a_store_is_opened_by_what_names_it(tmp_path):
    assert type(open_store(tmp_path, "example.org/audit")).__name__ == "SqliteStore"
    assert type(open_store("postgresql://localhost/audit", "example.org/audit")).__name__ == "PostgresStore"
    with pytest.raises(AuditStoreError, match="no PostgreSQL URL"):
        open_store("mysql://localhost/audit", "example.org/audit")
