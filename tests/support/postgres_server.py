"""A real PostgreSQL in a directory of its own, reached over a Unix socket that only its user and root can open."""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg

START_SECONDS = 60


def programs() -> Path:
    """Return the newest directory of PostgreSQL's programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if found:
        return found[-1].parent
    initdb = shutil.which("initdb")
    assert initdb, "PostgreSQL is not installed: apt-get install postgresql"
    return Path(initdb).resolve().parent


class PostgresServer:
    """A cluster; `stop`, `start` and `kill` it as often as needed.

    PostgreSQL refuses to run as root, so there it runs as `nobody`.
    """

    def __init__(self, settings: dict[str, str] | None = None, *, copy_of: "PostgresServer | None" = None) -> None:
        # The path of a Unix socket has at most 107 characters, fewer than pytest's directories leave.
        self.directory = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
        self.data = self.directory / "data"
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self.directory, nobody.pw_uid, nobody.pw_gid)
            self._as = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        self._settings = {"listen_addresses": "", "shared_buffers": "32MB", **(settings or {})}
        self._process: subprocess.Popen[bytes] | None = None
        if copy_of is None:
            self.run("initdb", "-D", self.data, "-U", "audit", "-A", "trust", "-E", "UTF8", "--no-locale")
        else:
            self.run("pg_basebackup", "-h", copy_of.directory, "-U", "audit", "-D", self.data, "-c", "fast", "-R")

    @property
    def url(self) -> str:
        """Address for libpq."""
        return self.url_of("audit")

    def url_of(self, user: str, database: str = "postgres") -> str:
        """Address for libpq, as another role or of another database."""
        return f"postgresql://{user}@/{database}?host={self.directory}"

    def run(self, program: str, *arguments: object) -> None:
        """Run one of PostgreSQL's programs as its user."""
        done = subprocess.run(
            [str(programs() / program), *map(str, arguments)],
            cwd=self.directory,
            env={"PATH": os.defpath, "LC_ALL": "C.UTF-8", "TZ": "UTC"},
            capture_output=True,
            check=False,
            timeout=START_SECONDS,
            **self._as,
        )
        assert done.returncode == 0, done.stderr.decode()

    def start(self) -> None:
        """Start the server and wait until it takes connections."""
        settings = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(programs() / "postgres"), "-D", str(self.data), "-k", str(self.directory), *settings],
                cwd=self.directory,
                env={"PATH": os.defpath, "LC_ALL": "C.UTF-8", "TZ": "UTC"},
                stdout=log,
                stderr=log,
                **self._as,
            )
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                psycopg.connect(self.url).close()
                break
            except psycopg.OperationalError:
                assert self._process.poll() is None, self.log
                assert time.monotonic() < deadline, self.log
                time.sleep(0.05)

    def stop(self, mode: str = "fast") -> None:
        """Stop the server: `fast` ends sessions, `immediate` ends everything as a crash does."""
        if self._process is not None:
            self.run("pg_ctl", "-D", self.data, "-m", mode, "-w", "stop")
            self._process.wait(START_SECONDS)
            self._process = None

    def restart(self, mode: str = "fast") -> None:
        """Stop and start."""
        self.stop(mode)
        self.start()

    def promote(self) -> None:
        """Make a standby the primary."""
        self.run("pg_ctl", "-D", self.data, "-w", "promote")

    def require_passwords(self) -> None:
        """Let every role but the owner of everything in only with its password."""
        rules = "local all audit trust\nlocal all all scram-sha-256\nhost all all all scram-sha-256\n"
        (self.data / "pg_hba.conf").write_text(rules)
        self.execute("SELECT pg_reload_conf()")

    def execute(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements as the owner of everything; return the rows of the last."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            for statement in statements:
                cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    @property
    def log(self) -> str:
        """What the server wrote."""
        return (self.directory / "log").read_text(errors="replace")

    def remove(self) -> None:
        """Stop it and delete its files."""
        self.stop("immediate")
        shutil.rmtree(self.directory)
