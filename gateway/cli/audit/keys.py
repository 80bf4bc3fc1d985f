"""The log's public keys, as an option of several commands."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from audit.tlog.errors import NoteError
from audit.tlog.note import NoteVerifier, parse_verifier_key
from audit.witness.policy import WitnessPolicy, WitnessPolicyError, parse_policy
from gateway.audit_keys import VERIFIER_FILE
from gateway.cli.output import fail
from gateway.config import GatewayConfig

KeyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--key",
        help="The log's public key (C2SP verifier key), or a file that holds it, as you got it from elsewhere; may be "
        "repeated. Default: the one that lies beside the log, which proves less.",
        show_default=False,
    ),
]


PolicyOption = Annotated[
    Path | None,
    typer.Option(
        "--policy",
        help="Witness policy (C2SP tlog-policy) whose quorum has to have cosigned; default: the configured one.",
        show_default=False,
    ),
]


def witness_policy(settings: GatewayConfig, given: Path | None) -> tuple[WitnessPolicy, str] | None:
    """Return the policy of witnesses and its text; None where there is none."""
    path = given or settings.audit.witnesses.policy_file
    if path is None:
        return None
    try:
        text = path.read_text()
        return parse_policy(text), text
    except (WitnessPolicyError, OSError, UnicodeDecodeError) as error:
        fail(f"{path}: {error}")


def verifier_keys(settings: GatewayConfig, given: Sequence[str] | None) -> tuple[list[NoteVerifier], bool]:
    """Return the log's public keys, and whether they were given rather than found beside the log."""
    try:
        if given:
            texts = [Path(each).read_text() if "+" not in each or Path(each).exists() else each for each in given]
            return [parse_verifier_key(text) for text in texts], True
        path = settings.audit_dir / VERIFIER_FILE
        return ([parse_verifier_key(path.read_text())] if path.exists() else []), False
    except (NoteError, OSError, UnicodeDecodeError) as error:
        fail(f"the log's public key: {error}. It has the form NAME+ID+KEY; the gateway's operator publishes it.")
