"""Writes verdicts on Rego tests as JUnit XML, which continuous-integration servers show."""

import re
from collections.abc import Sequence
from itertools import groupby
from xml.etree import ElementTree

from gateway.authorization.rego_tests import RegoTestResult

_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_xml(results: Sequence[RegoTestResult]) -> bytes:
    """Return a document with one `testsuite` a file and one `testcase` a test."""
    root = ElementTree.Element("testsuites", {"name": "govctl policy test", **_totals(results)})
    for file, group in groupby(sorted(results, key=lambda each: (each.file, each.line)), lambda each: each.file):
        cases = list(group)
        suite = ElementTree.SubElement(root, "testsuite", {"name": _text(file), **_totals(cases)})
        for case in cases:
            _add(suite, case)
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def _add(suite: ElementTree.Element, result: RegoTestResult) -> None:
    package, name = _split(result.name)
    case = ElementTree.SubElement(
        suite,
        "testcase",
        classname=_text(package),
        name=_text(name),
        file=_text(result.file),
        line=str(result.line),
        time=f"{result.seconds:.6f}",
    )
    if result.skipped:
        ElementTree.SubElement(case, "skipped", message="a todo_test_ rule is not evaluated")
    elif not result.passed:
        failure = ElementTree.SubElement(case, "failure", type="failure", message=_text(result.detail))
        failure.text = _text(f"{result.file}:{result.line}: {result.name}: {result.detail}")


def _totals(results: Sequence[RegoTestResult]) -> dict[str, str]:
    return {
        "tests": str(len(results)),
        "failures": str(sum(not each.passed for each in results)),
        "errors": "0",
        "skipped": str(sum(each.skipped for each in results)),
        "time": f"{sum(each.seconds for each in results):.6f}",
    }


def _split(name: str) -> tuple[str, str]:
    """Return the package and the rule of a test."""
    package, _, rule = name.removeprefix("data.").rpartition(".")
    return package, rule


def _text(text: str) -> str:
    """Return text without the characters that XML 1.0 (section 2.2) has no way to write."""
    return _NO_XML.sub("\ufffd", text)
