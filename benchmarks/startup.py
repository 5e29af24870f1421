"""What every command pays: `validate` against its bare imports, and a build with nothing to do against `validate`."""

import sys
import tempfile
from pathlib import Path

from benchmarks.measure import MODELSPEC, ROOT, Row, medians, run, show

SPEC = str(ROOT / "examples/digits/model.yaml")
IMPORTS = "import click, yaml; from pydantic import BaseModel"


def rows(runs: int = 15) -> list[Row]:
    """Measured on the digits example, which is built once before."""
    with tempfile.TemporaryDirectory() as folder:
        env = {"MODELSPEC_CACHE_DIR": str(Path(folder, "cache"))}
        validate = [MODELSPEC, "validate", "-f", SPEC]
        build = [MODELSPEC, "build", "-f", SPEC, "-o", str(Path(folder, "dist"))]
        run(build, env)
        found = medians(
            {
                "imports": lambda: run([sys.executable, "-c", IMPORTS]),
                "validate": lambda: run(validate, env),
                "no-op": lambda: run(build, env),
            },
            runs,
        )
    return [
        Row("modelspec validate", "import click, yaml, pydantic", found["validate"], found["imports"], 1.7),
        Row("build with nothing to do", "modelspec validate", found["no-op"], found["validate"], 2.0),
    ]


if __name__ == "__main__":
    show(rows())
