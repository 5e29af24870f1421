"""What the tests of images run against: a registry, a Docker engine and a base image, all of Debian's packages.

Each is started by the test session and ended with it; where it cannot be had, the tests that need it are skipped with the reason.
"""

import base64
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import platformdirs
import pytest

USER, PASSWORD = "alice", "c4nary-of-a-registry"


def free_port() -> int:
    """A port of loopback that nothing listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def need(*programs: str) -> None:
    """Skip where a program is not installed."""
    for program in programs:
        if shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin") is None:
            pytest.skip(f"{program} is not installed")


@contextmanager
def running(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program that ends with the block."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextmanager
def registry_in(folder: Path, *, password: bool = False, token: dict[str, str] | None = None) -> Iterator[str]:
    """Debian's docker-registry on loopback; yields `127.0.0.1:<port>`."""
    need("docker-registry")
    port = free_port()
    config = {"version": 0.1, "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": True}},
              "log": {"level": "error"}, "http": {"addr": f"127.0.0.1:{port}"}}  # fmt: skip
    if password:
        need("htpasswd")
        made = subprocess.run(["htpasswd", "-Bbn", USER, PASSWORD], capture_output=True, check=True)
        (folder / "htpasswd").write_bytes(made.stdout)
        config["auth"] = {"htpasswd": {"realm": "tests", "path": str(folder / "htpasswd")}}
    if token:
        config["auth"] = {"token": {"service": "tests", "issuer": "tests", **token}}
    (folder / "config.yml").write_text(json.dumps(config))
    with running(["docker-registry", "serve", str(folder / "config.yml")], folder / "log") as process:
        end = time.monotonic() + 20
        while time.monotonic() < end and process.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.05)
        else:
            pytest.fail(f"docker-registry did not start: {(folder / 'log').read_text()}")
        yield f"127.0.0.1:{port}"


def docker_config(folder: Path, host: str, user: str, password: str) -> Path:
    """A folder for DOCKER_CONFIG, as `docker login` leaves it."""
    folder.mkdir(exist_ok=True)
    auth = base64.b64encode(f"{user}:{password}".encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))
    return folder


@dataclass
class Flaky:
    """A way to a server on which every second connection fails, each time in another way."""

    address: str
    connections: int = 0
    failed: int = 0
    modes: tuple[str, ...] = ("refuse", "503", "cut the request", "cut the answer")
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next(self) -> str:
        """How the connection that was just made is to end; empty if well."""
        with self.lock:
            self.connections += 1
            if self.connections % 2 == 0:
                return ""
            self.failed += 1
            return self.modes[self.failed % len(self.modes)]


@contextmanager
def flaky(upstream: str) -> Iterator[Flaky]:
    """Connections to the address that it yields go on to `upstream`, if they are lucky."""
    listening = socket.create_server(("127.0.0.1", 0))
    way = Flaky(f"127.0.0.1:{listening.getsockname()[1]}")

    def pump(source: socket.socket, target: socket.socket, limit: float) -> None:
        with suppress(OSError):
            while limit > 0 and (data := source.recv(1 << 16)):
                data = data[: int(min(limit, len(data)))]
                limit -= len(data)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        if limit <= 0:
            for end in (source, target):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def serve(client: socket.socket) -> None:
        mode = way.next()
        with client, suppress(OSError):
            if mode == "refuse":
                return
            if mode == "503":
                client.recv(1 << 16)
                client.sendall(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            host, _, port = upstream.partition(":")
            with socket.create_connection((host, int(port))) as server:
                up = 150_000 if mode == "cut the request" else float("inf")
                down = 100 if mode == "cut the answer" else float("inf")
                other = threading.Thread(target=pump, args=(client, server, up), daemon=True)
                other.start()
                pump(server, client, down)
                other.join(5)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield way
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(5)


@contextmanager
def engine_in(folder: Path) -> Iterator[str]:
    """The Docker engine that DOCKER_HOST names, or one of its own; yields the address of its socket."""
    need("docker")
    if os.environ.get("DOCKER_HOST"):
        if subprocess.run(["docker", "info"], capture_output=True, timeout=30).returncode:
            pytest.skip("the engine of DOCKER_HOST does not answer")
        yield os.environ["DOCKER_HOST"]
        return
    need("dockerd")
    if os.geteuid():
        pytest.skip("a Docker engine of one's own needs root")
    # A socket's path may have 107 characters, and a test's folder has more.
    with tempfile.TemporaryDirectory(prefix="modelspec-engine-") as run:
        address = f"unix://{run}/docker.sock"
        for driver in ("overlay2", "vfs"):
            command = ["dockerd", "--iptables=false", "--ip6tables=false", "--bridge=none", f"--storage-driver={driver}",
                       "--data-root", str(folder / driver), "--exec-root", f"{run}/exec", "--pidfile", f"{run}/pid",
                       "-H", address]  # fmt: skip
            with running(command, folder / f"{driver}.log") as process:
                if _answers(address, process):
                    yield address
                    break
            _unmount(run)
        else:
            pytest.skip(f"dockerd does not start here: {(folder / 'vfs.log').read_text()[-300:]}")
        _unmount(run)


def _unmount(run: str) -> None:
    """What an engine that ended leaves mounted."""
    subprocess.run(["umount", f"{run}/exec/netns/default"], capture_output=True, timeout=10)


def _answers(address: str, process: subprocess.Popen[bytes]) -> bool:
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        if subprocess.run(["docker", "-H", address, "info"], capture_output=True, timeout=30).returncode == 0:
            return True
        time.sleep(0.2)
    return False


def base_tar() -> Path:
    """The root file system of a small Debian with Python 3, made once and kept between runs."""
    kept = Path(os.environ.get("MODELSPEC_TEST_IMAGES") or platformdirs.user_cache_path("modelspec-tests"))
    kept.mkdir(parents=True, exist_ok=True)
    with (kept / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path = kept / "bookworm-python3.tar"
        if not path.is_file():
            _bootstrap(path)
    return path


def _bootstrap(path: Path) -> None:
    need("debootstrap")
    if os.geteuid():
        pytest.skip("debootstrap needs root")
    with tempfile.TemporaryDirectory(prefix="modelspec-base-") as work:
        root, packages = Path(work, "root"), "python3-minimal,ca-certificates,libpython3-stdlib"
        command = ["debootstrap", "--variant=minbase", f"--include={packages}", "bookworm", str(root)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        if done.returncode:
            pytest.skip(f"debootstrap fails here: {done.stdout[-300:]}")
        for name in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale", "usr/share/man"):
            shutil.rmtree(root / name)
            (root / name).mkdir()
        with tarfile.open(Path(work, "tar"), "w") as tar:
            tar.add(root, ".", filter=lambda entry: None if entry.name.startswith("./dev/") else entry)
        shutil.copyfile(Path(work, "tar"), path.with_suffix(".part"))
        path.with_suffix(".part").rename(path)
