"""What modelspec asks of uv: which wheels satisfy requirements on a platform, and the wheels themselves, unpacked."""

import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from modelspec.errors import ModelspecError, fail
from modelspec.lookup import Found

_PLATFORMS = {"linux/amd64": "x86_64-manylinux_2_28", "linux/arm64": "aarch64-manylinux_2_28"}
"""glibc 2.28 and later: that of Debian 10 and Ubuntu 18.10."""
NEVER = ("coloredlogs", "huggingface-hub", "sympy")
"""What the server never imports, although something it does import asks for it: onnxruntime for its tools for making models,
tokenizers for downloads by name."""
_RESOLVE_S, _INSTALL_S = 300.0, 1800.0
_CREDENTIALS = re.compile(r"//[^/\s@]+@")


def resolve(requirements: Sequence[str], python: str, platform: str) -> Found:
    """Name -> version and digests of the wheels. Raises MS409."""
    with tempfile.TemporaryDirectory(prefix="modelspec-uv-") as folder:
        place = Path(folder)
        (place / "requirements.in").write_text("".join(f"{each}\n" for each in requirements))
        (place / "never.txt").write_text("".join(f"{each}\n" for each in NEVER))
        command = ["pip", "compile", "requirements.in", *_for(python, platform), "--format", "pylock.toml"]
        command += ["--excludes", "never.txt"]
        _uv([*command, "--output-file", "pylock.toml", "--quiet"], place, _RESOLVE_S, "MS409")
        locked = tomllib.loads((place / "pylock.toml").read_text())
    found = {}
    for package in locked["packages"]:
        digests = sorted(wheel["hashes"]["sha256"] for wheel in package.get("wheels", ()))
        if not digests:
            raise fail("MS409", f"{package['name']} {package['version']} has no wheel for Python {python} on {platform}", help="use another python or platform", path=("platforms",))  # fmt: skip
        found[package["name"]] = " ".join((package["version"], *(f"sha256:{each}" for each in digests)))
    return found


def install(wheels: Mapping[str, str], python: str, platform: str, target: Path, scratch: Path) -> None:
    """Unpack the wheels into a folder. Raises MS410."""
    lines = []
    for name, said in wheels.items():
        version, *digests = said.split()
        lines.append(f"{name}=={version} {' '.join(f'--hash={each}' for each in digests)}\n")
    (scratch / "requirements.txt").write_text("".join(lines))
    options = ["--require-hashes", "--no-deps", "--no-compile-bytecode", "--link-mode", "copy", "--no-progress"]
    places = ["--target", str(target), "--python", sys.executable, "--cache-dir", str(scratch / "uv")]
    command = ["pip", "install", *_for(python, platform), *options, *places, "--requirement", "requirements.txt"]
    _uv(command, scratch, _INSTALL_S, "MS410")


def _for(python: str, platform: str) -> list[str]:
    return ["--only-binary", ":all:", "--python-version", python, "--python-platform", _PLATFORMS[platform]]


def _uv(arguments: Sequence[str], place: Path, timeout_s: float, code: str) -> None:
    """Run it. What it says goes into the log of an action, without the credentials that an address may hold."""
    from uv import find_uv_bin

    try:
        done = subprocess.run(  # noqa: S603 - a list, no shell; names and versions are our own or the index's
            [find_uv_bin(), *arguments],
            cwd=place, capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise _failed(code, f"uv took more than {timeout_s:g} s") from error
    said = _CREDENTIALS.sub("//***@", done.stderr).strip()
    if done.returncode:
        print(said, file=sys.stderr)  # noqa: T201 - the log
        raise _failed(code, " ".join(said.split())[:600])


def _failed(code: str, why: str) -> ModelspecError:
    what = "resolved" if code == "MS409" else "had"
    fix = "check the network and UV_INDEX_URL; another python or platform may have wheels"
    return fail(code, f"the packages of the image cannot be {what}: {why}", help=fix)
