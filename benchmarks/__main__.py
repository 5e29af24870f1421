"""The whole table: `python -m benchmarks [--large] [--tune] [--olive VENV]`. Exits with 1 when a bar of the design is missed."""

import argparse
from pathlib import Path

from benchmarks import build, large, olive, startup, store, tune
from benchmarks.measure import Row, show


def main() -> int:
    """Measure, print, compare with the bars."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--olive", type=Path, metavar="VENV", help="a virtual environment with olive-ai: compare with it"
    )
    parser.add_argument("--large", action="store_true", help="also a model of 2.4 GB; takes minutes")
    parser.add_argument("--tune", action="store_true", help="also the search on digits; takes minutes")
    parser.add_argument("--runs", type=int, default=3, help="rounds of builds (default: 3)")
    asked = parser.parse_args()
    rows: list[Row] = []
    for part in (startup.rows(5 * asked.runs), store.rows(), build.rows(asked.runs)):
        show(part)
        rows += part
    if asked.large:
        show(part := large.rows(asked.runs))
        rows += part
    if asked.tune:
        show(part := tune.rows())
        rows += part
    if asked.olive:
        show(olive.rows(asked.olive, asked.runs))
    missed = [row.what for row in rows if row.bar is not None and row.ratio > row.bar]
    print(f"{len(missed)} bars missed" + (f": {'; '.join(missed)}" if missed else ""))
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
