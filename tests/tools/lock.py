"""``python -m tests.tools.lock REPORT``: prints requirements.lock from what pip would install (``make lock``)."""

import json
import sys
from pathlib import Path
from typing import Any

HEAD = """\
# What CI and `make install` install, exactly. Made by `make lock`; pip and uv read it as constraints (-c).
# Versions without hashes: pip tells those of the files for this one platform, and others could not install then.
"""


def locked(report: dict[str, Any]) -> str:
    """The exact version of everything that is not ours."""
    packages = [each["metadata"] for each in report["install"] if not each.get("is_direct")]
    names = {each["name"].lower().replace("_", "-").replace(".", "-"): each["version"] for each in packages}
    return HEAD + "".join(f"{name}=={version}\n" for name, version in sorted(names.items()))


if __name__ == "__main__":
    print(locked(json.loads(Path(sys.argv[1]).read_text("utf-8"))), end="")
