"""schemathesis over the OpenAPI document, against a server of its own: ``python -m tests.fuzz.schemas``.

schemathesis is installed elsewhere, because it brings much that the tests do not need: an environment made
from ``requirements/schemathesis.lock``, whose ``schemathesis`` is named with ``--command``. The short form,
without it, is ``tests/test_server_runs.py``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz.raw_http import LIMITS
from tests.serve_helpers import ORDER, TOKENS, serving

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,"
    "response_headers_conformance,unsupported_method,ignored_auth"
)

KNOWN = """
[parameters]
"path.run" = "order-1"
"path.version" = 1
"query.left" = "order-1"
"query.right" = "order-1"
"""
"""The second pass is about a run that is there; in the first, ids too are by chance."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--command", default="schemathesis")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--examples", type=int, default=100)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), limits=LIMITS) as served:
        served.start(id="order-1")
        served.ask("POST", "/api/v1/workflows", json={"source": ORDER.format(version=1)})
        document = Path(folder) / "openapi.json"
        document.write_bytes(served.ask("GET", "/api/v1/openapi.json").content)
        known = Path(folder) / "schemathesis.toml"
        known.write_text(KNOWN)
        command = [
            options.command, "run", str(document), "--url", served.url, "--checks", CHECKS,
            "--header", f"Authorization: Bearer {TOKENS['admin'].text}", "--seed", str(options.seed),
            "--max-examples", str(options.examples), "--exclude-path-regex", "/events$",
            "--request-timeout", "20", "--generation-database", "none",
        ]  # fmt: skip
        strange = subprocess.run(command, check=False, cwd=folder).returncode
        command[1:1] = ["--config-file", str(known)]
        sys.exit(subprocess.run(command, check=False, cwd=folder).returncode or strange)


if __name__ == "__main__":
    main()
