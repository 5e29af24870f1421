"""`python -m modelspec.runtime FOLDER`: what an image runs."""

import os
import sys

from modelspec.runtime.errors import ServeError
from modelspec.runtime.settings import parse


def main() -> int:
    """Serve until a signal; the exit status is that of the table of `modelspec`."""
    settings = parse(sys.argv[1:])
    # Since 1.29 ONNX Runtime tells its makers of each model it opens, unless this is set before it is imported:
    # https://github.com/microsoft/onnxruntime/pull/27379
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    from modelspec.runtime import log
    from modelspec.runtime.server import serve

    try:
        serve(settings)
    except ServeError as error:
        log.write("failed", level="error", reason=str(error))
        return error.exit
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
