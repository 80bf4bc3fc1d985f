"""What a revision must bring before it may decide: a plain check of its manifest against the configuration."""

from gateway.authorization.manifest import Change
from gateway.config.policy import Requirements
from gateway.errors import ConfigError
from gateway.people import as_written, person


def check_requirements(change: Change, required: Requirements) -> None:
    """Refuse a revision that does not bring what the configuration asks for.

    Args:
        change: how the revision came about, as its signed manifest says.
        required: what is asked for.

    Raises:
        ConfigError: everything that is missing, in one sentence each.
    """
    missing = []
    author = person(change.author)
    approvers = {person(each) for each in change.approvers} - {author, ""} if author else set()
    if len(approvers) < required.approvers:
        missing.append(
            f"{required.approvers} approver{'s'[: required.approvers != 1]} other than the author "
            f"({as_written(change.author) or 'who is not named'}), it has {len(approvers)}"
        )
    if required.signed_commit and not (change.commit and change.commit_signed):
        missing.append("a commit whose signature was verified")
    absent = sorted(set(required.checks) - set(change.checks))
    if absent:
        missing.append(f"the passed check{'s'[: len(absent) != 1]} {', '.join(absent)}")
    if required.serial and not change.serial:
        missing.append("a serial number")
    if missing:
        raise ConfigError(
            f"The revision lacks what policy.require asks for: {'; '.join(missing)}. "
            "Build it with the pipeline that reviewed the change (govctl policy build --approver …)."
        )


def check_order(change: Change, active: Change | None, *, rollback: bool) -> None:
    """Refuse a revision that is older than the active one, unless it is a rollback.

    Raises:
        ConfigError: its serial number is lower than the active one's, or it has none and the active one has.
    """
    if rollback or active is None or not active.serial or change.serial >= active.serial:
        return
    older = f"serial number {change.serial}" if change.serial else "no serial number"
    raise ConfigError(
        f"The revision has {older}, the active one {active.serial}: it is older. "
        "To go back on purpose: govctl policy rollback, or activate with --rollback."
    )
