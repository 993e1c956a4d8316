"""What Fourfold is made of: a bill of materials, no copyleft in the core, and known vulnerabilities where the advisory database can be reached.

    python .ci/supply_chain.py --out build/sbom.cdx.json

Run with the Python of the environment that is looked at. Exit code 1 for a core dependency under a GPL (the LGPL, exceptions for linking and a choice
of another licence are none), or for a known vulnerability. Without a way to the database it says so in one line: that is no failure.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
AUDIT_SECONDS = 120


def core() -> set[str]:
    """Names of all distributions that the project needs without extras, and they in turn, as they are installed here."""
    waiting: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    found: set[str] = set()
    while waiting:
        wanted = Requirement(waiting.pop())
        name = canonical(wanted.name)
        if name not in found and (wanted.marker is None or wanted.marker.evaluate({"extra": ""})):
            found.add(name)
            waiting = waiting + (metadata.requires(name) or [])
    return found


def canonical(name: str) -> str:
    """A distribution's name in the form in which names are compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def licences(component: Mapping[str, Any]) -> list[str]:
    """What a component of the bill says of its licence: expressions, identifiers or names."""
    told = [entry.get("expression") or entry.get("license", {}) for entry in component.get("licenses", ())]
    found = [text if isinstance(text, str) else text.get("id") or text.get("name") for text in told]
    return [str(text) for text in found if text]


def copyleft(licence: str) -> bool:
    """Whether a licence text leaves nothing but a GPL or AGPL without an exception for linking."""
    choices = re.split(r"\s+OR\s+", licence.strip("() "))
    return all(_gpl(choice) for choice in choices)


def _gpl(licence: str) -> bool:
    parts = re.split(r"\s+AND\s+|;", licence)
    strict = [
        p for p in parts if re.search(r"(?<![A-Za-z])A?GPL|(?<!Lesser )General Public License|Affero", p) and not re.search(r"exception", p, re.I)
    ]
    return any(not re.search(r"LGPL|Lesser", p) for p in strict)


def bill(out: Path) -> list[dict[str, Any]]:
    """Write the bill of materials of this environment (CycloneDX) and return its components."""
    out.parent.mkdir(parents=True, exist_ok=True)
    command = ["cyclonedx_py", "environment", sys.executable, "--pyproject", str(ROOT / "pyproject.toml"), "-o", str(out)]
    subprocess.run([sys.executable, "-m", *command], check=True, stderr=subprocess.DEVNULL)
    return json.loads(out.read_text())["components"]


def vulnerabilities() -> tuple[list[str], str]:
    """Known vulnerabilities of what is installed, and a sentence on what could not be asked."""
    command = [sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off", "--skip-editable", "--timeout", "10"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=AUDIT_SECONDS)
        asked = json.loads(done.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        return [], "the advisory database cannot be reached: nothing was audited"
    return read_audit(asked)


def read_audit(asked: list[dict[str, Any]]) -> tuple[list[str], str]:
    """Vulnerabilities in the rows of pip-audit, and a sentence on rows that were not answered."""
    found = [f"{row['name']} {row['version']}: {one['id']}" for row in asked for one in row.get("vulns", ())]
    skipped = [row["name"] for row in asked if "skip_reason" in row]
    if len(skipped) == len(asked):
        return found, "the advisory database cannot be reached: nothing was audited"
    return found, f"{len(asked) - len(skipped)} distributions were audited" + (f", {len(skipped)} are not in the database" if skipped else "")


def main() -> int:
    """Say what was found; 1 if something must change."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "sbom.cdx.json")
    out = parser.parse_args().out
    components = bill(out)
    needed = core()
    named = {canonical(c["name"]): licences(c) for c in components}
    forbidden = sorted(name for name in needed if any(copyleft(text) for text in named.get(name, ())))
    unnamed = sorted(name for name in needed if not named.get(name))
    print(f"bill of materials: {len(components)} components in {out}; {len(needed)} of them are the core's")
    verdict = f"{', '.join(forbidden)} under a GPL" if forbidden else "no GPL"
    print(f"licences of the core: {verdict}{'; none told by ' + ', '.join(unnamed) if unnamed else ''}")
    vulnerable, sentence = vulnerabilities()
    print(f"audit: {sentence}{'; known vulnerabilities: ' + ', '.join(vulnerable) if vulnerable else ''}")
    return int(bool(forbidden or vulnerable))


if __name__ == "__main__":
    sys.exit(main())
