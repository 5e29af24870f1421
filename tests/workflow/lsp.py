"""A client of a language server over stdio, as an editor is one."""

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, Queue
from typing import Any

Message = dict[str, Any]
_DEADLINE_S = 60.0


def modules() -> Path:
    """The node_modules that MODELSPEC_NODE_MODULES names; a folder that is not there, where it names none."""
    return Path(os.environ.get("MODELSPEC_NODE_MODULES") or "node_modules")


def missing(package: str) -> str:
    """Why a server cannot be run here; empty where it can."""
    if shutil.which("node") is None:
        return "node is not installed"
    return "" if (modules() / package).is_dir() else f"MODELSPEC_NODE_MODULES names no folder with {package}"


class Client:
    """Sends requests, and answers those of the server by `answers`."""

    def __init__(self, process: "subprocess.Popen[bytes]", answers: Callable[[Message], Any]) -> None:
        self._process, self._answers, self._count = process, answers, 0
        self._came: Queue[Message] = Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        stream = self._process.stdout
        assert stream is not None
        while line := stream.readline():
            length = 0
            while line.strip():
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
                line = stream.readline()
            self._came.put(json.loads(stream.read(length)))

    def _send(self, message: Message) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self._process.stdin is not None
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self._process.stdin.flush()

    def tell(self, method: str, params: Message) -> None:
        """A notification."""
        self._send({"method": method, "params": params})

    def ask(self, method: str, params: Message) -> Any:
        """A request; returns the result."""
        self._count += 1
        self._send({"id": self._count, "method": method, "params": params})
        answer = self.wait(lambda message: message.get("id") == self._count and "method" not in message)
        assert "error" not in answer, answer
        return answer["result"]

    def wait(self, wanted: Callable[[Message], bool]) -> Message:
        """The next message of a kind; the server's own requests are answered meanwhile."""
        while True:
            try:
                message = self._came.get(timeout=_DEADLINE_S)
            except Empty:
                raise AssertionError("the language server does not answer") from None
            if "method" in message and "id" in message:
                self._send({"id": message["id"], "result": self._answers(message)})
            elif wanted(message):
                return message

    def open(self, file: Path, language: str = "yaml") -> list[Message]:
        """Open a file; returns its diagnostics."""
        document = {"uri": file.as_uri(), "languageId": language, "version": 1, "text": file.read_text()}
        self.tell("textDocument/didOpen", {"textDocument": document})
        found = self.wait(
            lambda message: (
                message.get("method") == "textDocument/publishDiagnostics" and message["params"]["uri"] == file.as_uri()
            )
        )
        diagnostics: list[Message] = found["params"]["diagnostics"]
        return diagnostics


@contextmanager
def server(
    command: Sequence[str | Path], folder: Path, answers: Callable[[Message], Any], options: Message | None = None
) -> Iterator[Client]:
    """A running server that was told of the folder."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        client = Client(process, answers)
        try:
            client.ask("initialize", {
                "processId": os.getpid(), "rootUri": folder.as_uri(), "initializationOptions": options or {},
                "workspaceFolders": [{"uri": folder.as_uri(), "name": folder.name}],
                "capabilities": {"workspace": {"configuration": True, "workspaceFolders": True},
                                 "textDocument": {"completion": {"completionItem": {"snippetSupport": False}}}},
            })  # fmt: skip
            client.tell("initialized", {})
            yield client
        finally:
            process.kill()
