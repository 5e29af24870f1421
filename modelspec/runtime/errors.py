"""What can go wrong: a folder that cannot be served ends the program, a request that is refused gets a status."""

from collections.abc import Mapping


class ServeError(Exception):
    """The server cannot start; `exit` is the status of the process, as in the table of `modelspec`."""

    def __init__(self, message: str, exit: int) -> None:
        super().__init__(message)
        self.exit = exit


USAGE, STAGE, ENVIRONMENT, INTEGRITY, UNSAFE, BUG = 2, 3, 4, 5, 6, 70


class RequestError(Exception):
    """A request gets an answer other than 200; the message is for the caller."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}


class BusyError(RequestError):
    """The server has as much to do as it may have."""

    def __init__(self, message: str, seconds: int = 1) -> None:
        super().__init__(503, message, {"retry-after": str(seconds)})


class FullError(BusyError):
    """Too many ask at one time."""


class LateError(BusyError):
    """What was asked could not be done in its time."""
