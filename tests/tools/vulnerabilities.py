"""``python -m tests.tools.vulnerabilities LOCK``: whether a version that we install is known to be vulnerable.

pip-audit asks a list on the internet, package by package. Where it is out of reach, or knows nothing of our packages,
this says so loudly and succeeds: who works without a network is not at fault.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

ANSWER_S: Final = 3
WITHIN_S: Final = 60


def judged(report: dict[str, Any]) -> tuple[int, str]:
    """Exit code and what to say."""
    packages = report["dependencies"]
    looked_up = [package for package in packages if "skip_reason" not in package]
    if not looked_up:
        return 0, _not_checked(f"the list knows none of our {len(packages)} packages")
    sentences = [
        f"{package['name']} {package['version']}: {fault['id']}, mended in {', '.join(fault['fix_versions']) or 'none'}"
        for package in looked_up
        for fault in package["vulns"]
    ]
    if sentences:
        return 1, "\n".join([*sentences, "Raise these versions: make lock"])
    unknown = len(packages) - len(looked_up)
    return 0, f"{len(looked_up)} packages without a known vulnerability" + (
        f", {unknown} NOT CHECKED" if unknown else ""
    )


def _not_checked(why: str) -> str:
    return f"VULNERABLE VERSIONS WERE NOT LOOKED FOR: {why}"


def asked(lock: Path) -> tuple[int, str]:
    """Ask about the versions of a lock file."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(lock), "--no-deps", "--disable-pip"]
    command += ["--timeout", str(ANSWER_S), "--progress-spinner", "off", "--format", "json"]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=WITHIN_S)
    except subprocess.TimeoutExpired:
        return 0, _not_checked(f"the list did not answer within {WITHIN_S} s")
    try:
        return judged(json.loads(ran.stdout))
    except ValueError:
        return 0, _not_checked((ran.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1])


if __name__ == "__main__":
    code, text = asked(Path(sys.argv[1]))
    print(text)
    sys.exit(code)
