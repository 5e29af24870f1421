"""Runs in an environment of its own: lints a chart with Helm itself, and writes what it renders to stdout."""

import json
import sys

import helm_python  # type: ignore[import-not-found]

if __name__ == "__main__":
    lint = helm_python.lint(sys.argv[1])
    rendered = helm_python.Chart.load(sys.argv[1]).render({}, name="release", namespace="default")
    json.dump({"errors": lint["errors"], "rendered": rendered}, sys.stdout)
