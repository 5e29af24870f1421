"""The building process of a rebuild: reads an order on stdin, publishes, and leaves what went wrong in result.json."""

import json
import os
import signal
import sys
from pathlib import Path

from modelspec.build import Asked, build
from modelspec.errors import ModelspecError
from modelspec.execute.execute import Settings
from modelspec.execute.job_file import write_result
from modelspec.platform_linux import die_with_parent


def main() -> None:
    """Build as the order says: in another place, with other cores and another umask, one action at a time."""
    order = json.load(sys.stdin)
    die_with_parent(signal.SIGTERM, parent=order["parent"])
    os.umask(order["umask"])
    os.sched_setaffinity(0, order["cores"])
    asked = Asked(
        Path(order["file"]),
        Path(order["cache"]),
        Path(order["output"]),
        tuple(order["targets"]),
        settings=Settings(jobs=1, timeout_s=order["timeout"]),
        judged=False,
        deferred=order["deferred"],
    )
    try:
        build(asked, lambda _: None, lambda _: None)
    except ModelspecError as error:
        write_result(Path(order["result"]), error.diagnostics, 0, "")
        sys.exit(1)


if __name__ == "__main__":
    main()
