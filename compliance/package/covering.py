"""COVERAGE.md: what a package does not show, said as openly as what it does."""

from collections.abc import Iterable

from compliance.package.facts import Facts

_ALWAYS = (
    (
        "That a record is true. The log holds what the gateway wrote down at the time; nobody can change it afterwards "
        "without being noticed, and nobody outside saw the calls."
    ),
    "What did not go through the gateway: calls that reach a model by another way leave no trace here.",
    "What prompts and answers said. The log holds keyed digests of them, and no content.",
    "Whether a person looked, understood or decided well. The log knows that somebody acted, and when.",
    "Training data, accuracy, bias and robustness of models. A gateway sees calls, not models.",
    "Who stands behind a credential beyond what the identity system attested.",
    "Compliance. Evidence supports a judgement; the judgement is the auditor's.",
)


def coverage(facts: Facts, stand_ins: Iterable[str] = ()) -> bytes:
    """Return COVERAGE.md.

    Args:
        facts: of the package.
        stand_ins: files that stand in for something that this package could not have.
    """
    of = facts.system or "the whole organisation"
    lines = [
        "# What this package does not show",
        "",
        f"Evidence of {of}, {facts.period}, from the log {facts.origin} as it was signed with {facts.checkpoint.size}",
        "records.",
    ]
    _section(lines, "What no package of this kind can show", _ALWAYS)
    _section(lines, "Days that the log does not cover", (f"{day}: {why}" for day, why in facts.evaluation.uncovered))
    controls = sorted(facts.evaluation.controls, key=lambda each: (each.framework, each.control.id, each.system))
    _section(
        lines,
        "Controls that nothing at a gateway can test",
        (
            f"{each.framework} {each.control.id} ({each.control.title}): {each.reason or each.control.not_testable}"
            for each in controls
            if each.status == "not-testable"
        ),
    )
    _section(
        lines,
        "What a person has to supply and did not",
        (
            f"{each.framework} {each.control.id}{_of(each.system)}: {person.asks} ({person.status})"
            for each in controls
            if each.status != "not-applicable"
            for person in each.person
            if person.status != "given"
        ),
    )
    _section(
        lines,
        "What the gateway cannot know about tested controls",
        (
            f"{each.framework} {each.control.id}: {said}"
            for each in controls
            if each.status not in ("not-applicable", "not-testable")
            for said in each.control.cannot_know
        ),
    )
    _section(lines, "Figures that nobody else counted, or counted otherwise", _figures(facts))
    _section(lines, "What is missing from the package", (*facts.missing, *_missing(facts), *stand_ins))
    return ("\n".join(lines) + "\n").encode()


def _figures(facts: Facts) -> Iterable[str]:
    for block in facts.ipe:
        for each in block.reconciliation:
            if each.other is None:
                yield f"{block.population}: {each.what} ({each.rows}): {each.source}: {each.explanation}."
            elif each.difference:
                yield f"{block.population}: {each.what}: {each.rows}, and {each.other} by {each.source}."


def _missing(facts: Facts) -> Iterable[str]:
    if not facts.seed:
        yield "Samples: no seed was given. Give commitment.json to the auditor, and export again with their seed."
    elif not any(each.replayable for each in facts.samples):
        yield "Decisions that can be made again: no sample has a recorded policy input and a bundle that is still kept."
    else:
        lost = sum(1 for each in facts.samples if each.type.startswith("access.") and not each.replayable)
        if lost:
            yield f"Replay of {lost} samples of calls: they ended before the policies, or their bundle is not kept."
    if not facts.real_names:
        yield (
            "Names of people in populations: they are pseudonyms, the same for the same name within this package. "
            "Records of samples are byte by byte those of the log, and name whom they name."
        )
    if len(facts.spoilt) < 4:
        yield "Spoilt copies of a population: none is small enough and has two different rows."
    if facts.seed and facts.system:
        yield (
            "Leaves drawn from the log may be records of other systems: they are disclosed whole, so that nobody can "
            "leave out what does not suit them."
        )


def _of(system: str) -> str:
    return f", {system}" if system else ""


def _section(lines: list[str], title: str, texts: Iterable[str]) -> None:
    lines += ["", f"## {title}", ""]
    found = list(dict.fromkeys(texts))
    lines += [f"- {' '.join(text.split())}" for text in found] or ["Nothing."]
