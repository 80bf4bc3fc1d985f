"""What a package says in plain data and plain words: the results of the controls, and how to read the rest."""

from dataclasses import asdict
from typing import Any

from compliance.evaluation.result import Evaluation
from compliance.package.facts import Facts

_README = """\
Evidence of {of}
{period}
from the audit log {log}, as it was signed with {size} records

  index.html            for people: begin here, if it is there
  COVERAGE.md           what this package does not show
  evaluation.json       each control with its tests, figures, exceptions and queries
  oscal/                the same for tools that read NIST's OSCAL 1.2.1
  documents/            what law and criteria ask to be written, filled as far as possible; drafts to be completed
  populations/          every grant, call, revocation ... of the period, as CSV and JSON Lines; dictionary.json says
                        what the columns mean, ipe.json how each was made and what others counted
  commitment.json       the roots of the populations and of the log; its digest is on record in the log since
                        before a seed was used
  committed/            that record, with its proof
  samples/              what the seed drew: the exact records, each with the proof that it is in the signed log
  bundles/              policies that were in force, or that decided a sample
  checkpoint            the log as it was signed (C2SP tlog-checkpoint), with cosignatures of witnesses if there are any
  keys/                 public keys and certificates, for information
  spoilt/               copies that are wrong on purpose: a verifier has to reject them
  manifest.json         every file with its SHA-256; manifest.dsse.json is its signature (in-toto Statement v1, DSSE)
  verify_evidence.py    verifies all of it; needs Python 3.11 and the package cryptography

To verify, on any machine:

  python -I verify_evidence.py . --evidence-key {fingerprint} \\
    --log-key KEY --system '{system}' --from {first} --to {last}

Both keys come by another way than the package: whoever can forge a package can put other keys beside it. Take
verify_evidence.py from elsewhere too if you trust nothing here; it is the same file in every release.

The commitment is {commitment}.{seed}
"""

_NO_SEED = """
Nothing was drawn yet. Think of a seed that nobody here can guess, give it to the operator, and keep commitment.json:
with --commitment it shows that the populations were not made to fit your seed."""


def readme(facts: Facts, commitment: str) -> bytes:
    """Return README.txt."""
    return _README.format(
        of=facts.system or "the whole organisation",
        period=facts.period,
        log=facts.origin,
        size=facts.checkpoint.size,
        fingerprint=facts.fingerprint,
        system=facts.system,
        first=facts.period.first,
        last=facts.period.last,
        commitment=commitment,
        seed="" if facts.seed else _NO_SEED,
    ).encode()


def evaluation_document(evaluation: Evaluation) -> dict[str, Any]:
    """Return the results of the controls as plain data."""
    return {
        "system": evaluation.system,
        "from": str(evaluation.period.first),
        "to": str(evaluation.period.last),
        "frameworks": [
            {"framework": each.framework, "title": each.title, "version": each.version, "checked": str(each.checked)}
            for each in evaluation.frameworks
        ],
        "uncovered": [list(each) for each in evaluation.uncovered],
        "controls": [
            {
                "framework": each.framework,
                "control": each.control.id,
                "title": each.control.title,
                "source": each.control.source,
                "system": each.system,
                "status": each.status,
                "in_force": each.in_force,
                "binding": each.binding,
                "version": each.version,
                "reason": each.reason,
                "crosswalk": {name: list(ids) for name, ids in sorted(each.control.crosswalk.items())},
                "person": [asdict(person) for person in each.person],
                "tests": [
                    {
                        "id": test.test.id,
                        "says": test.test.says,
                        "population": test.test.population,
                        "status": test.status,
                        "measured": test.measured,
                        "value": test.value,
                        "rows": test.rows,
                        "exceptions": [list(exception) for exception in test.exceptions],
                        "query": test.query,
                        "reason": test.reason,
                        "days": [asdict(day) for day in test.days],
                    }
                    for test in each.tests
                ],
            }
            for each in evaluation.controls
        ],
    }
