"""What pytest's JUnit files say."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any


def outcome(report: Path) -> dict[str, Any]:
    """Counts of a JUnit file, and the names of the tests that failed; without a whole file, pytest itself."""
    try:
        suites = ElementTree.parse(report).getroot().iter("testsuite")
    except (OSError, ElementTree.ParseError):
        return {"passed": 0, "skipped": 0, "failed": ["pytest itself"]}
    cases = [case for suite in suites for case in suite.iter("testcase")]
    failed = [
        f"{case.get('classname')}.{case.get('name')}"
        for case in cases
        if case.find("failure") is not None or case.find("error") is not None
    ]
    skipped = sum(case.find("skipped") is not None for case in cases)
    return {"passed": len(cases) - len(failed) - skipped, "skipped": skipped, "failed": failed}
