"""govctl verify-evidence, evidence key."""

import argparse
from pathlib import Path
from typing import Annotated

import typer

from compliance.errors import ComplianceError
from compliance.offline import verify_evidence as verifier
from compliance.package.signing import fingerprint, public_pem
from gateway.cli.output import DEFAULT_CONFIG, ConfigOption, JsonOption, fail, print_json, say
from gateway.config import load_config
from gateway.evidence_key import KEY_FILE, open_evidence_key
from gateway.evidence_replay import replay_samples

app = typer.Typer(help="Evidence for auditors: the key that signs it.", no_args_is_help=True)


@app.command()
def key(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Show the public key that packages are signed with; give it to auditors by another way than packages."""
    settings = load_config(config)
    opened = open_evidence_key(settings)
    public = opened.private.public_key()
    if json:
        print_json({"fingerprint": fingerprint(public), "pem": public_pem(public), "made": opened.made})
        return
    typer.echo(public_pem(public), nl=False)
    say(f"Fingerprint {fingerprint(public)}")
    if opened.made:
        say(f"It was made just now. Back up {KEY_FILE}, and publish the fingerprint where auditors find it.")


def verify_evidence(
    package: Annotated[Path, typer.Argument(help="Directory or zip file.")],
    evidence_key: Annotated[str, typer.Option("--evidence-key", metavar="KEY", help="PEM file, or fingerprint.")] = "",
    log_key: Annotated[
        list[str] | None, typer.Option("--log-key", metavar="KEY", help="The log's public key, or a file; repeatable.")
    ] = None,
    witness_policy: Annotated[
        Path | None, typer.Option("--witness-policy", help="Whose cosignatures are required (C2SP tlog-policy).")
    ] = None,
    system: Annotated[str | None, typer.Option("--system", help="The AI system that you asked for; '': all.")] = None,
    first: Annotated[str, typer.Option("--from", metavar="DAY", help="The first day that you asked for.")] = "",
    last: Annotated[str, typer.Option("--to", metavar="DAY", help="The last day that you asked for.")] = "",
    not_before: Annotated[str, typer.Option("--not-before", metavar="TIME", help="It may not be older.")] = "",
    since: Annotated[
        list[Path] | None, typer.Option("--since", metavar="CHECKPOINT", help="A checkpoint that you have; repeatable.")
    ] = None,
    commitment: Annotated[
        Path | None, typer.Option("--commitment", metavar="FILE", help="The commitment.json that you have.")
    ] = None,
    seed: Annotated[str | None, typer.Option("--seed", help="The seed that you gave.")] = None,
    replay: Annotated[bool, typer.Option("--replay", help="Make the sampled decisions again.")] = False,
    json: JsonOption = False,
) -> None:
    """Verify a package of evidence, as the verifier in it does; exit status 0 proved, 1 wrong, 2 unusable, 3 no key."""
    asked = argparse.Namespace(
        package=str(package),
        evidence_key=evidence_key,
        log_key=log_key or [],
        witness_policy=str(witness_policy) if witness_policy is not None else None,
        system=system,
        first=first,
        last=last,
        not_before=not_before,
        since=[str(each) for each in since or ()],
        commitment=str(commitment) if commitment is not None else "",
        seed=seed,
    )
    try:
        verdict = verifier.verify(asked)
        if replay and not verdict.wrong:
            _replay(package, verdict)
    except verifier.UnusableError as error:
        fail(f"Cannot verify: {verifier.plain(str(error))}", 2)
    raise typer.Exit(verdict.tell(as_json=json))


def _replay(package: Path, verdict: verifier.Verdict) -> None:
    done = 0
    try:
        for each in replay_samples(verifier.Package(package)):
            done += 1
            if each.difference:
                verdict.error(f"record {each.leaf} ({each.event_id}) is decided otherwise: {each.difference}")
    except ComplianceError as error:
        verdict.error(str(error))
        return
    verdict.facts["replayed"] = done
    verdict.unproved = [each for each in verdict.unproved if "--replay" not in each]
    if not verdict.wrong:
        verdict.proved.append(f"{done} sampled decisions were made again by the bundles, with the same answers")
