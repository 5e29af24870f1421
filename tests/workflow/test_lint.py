"""The action and the workflows before the tools that judge them: schema, security, GitHub's own language server, shell."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.workflow.lsp import Client, Message, missing, modules, server
from tests.workflow.runner import FILES, ROOT, load

EXAMPLE = "examples/github/model.yml"
WORKFLOWS = [name for name in FILES if "workflows" in name]
ACTIONS = [name for name in FILES if "workflows" not in name]


def tool(name: str) -> str:
    """A program beside this Python or on the path; skips where there is none."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with all of it, the example's placeholders filled in, as a user would fill them."""
    root = tmp_path_factory.mktemp("checkout")
    (root / ".git").mkdir()
    for name in FILES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    text = (ROOT / EXAMPLE).read_text()
    assert "OWNER/modelspec/" in text
    here = re.sub(r"OWNER/modelspec/(\S+)@COMMIT", r"$/\1", text)  # so that the inputs and outputs are looked up
    (root / ".github/workflows/example.yml").write_text(here)
    (root / ".github/workflows/pinned.yml").write_text(text.replace("COMMIT", "0" * 40).replace("OWNER", "someone"))
    return root


def steps(value: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every step of a workflow or an action."""
    yield from value.get("runs", {}).get("steps", ())
    for job in value.get("jobs", {}).values():
        yield job if "uses" in job else {}
        yield from job.get("steps", ())


@pytest.mark.parametrize(("kind", "names"), [("workflows", [*WORKFLOWS, EXAMPLE]), ("actions", ACTIONS)])
def test_schema(kind: str, names: list[str]) -> None:
    line = [tool("check-jsonschema"), "--builtin-schema", f"vendor.github-{kind}", *names]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def zizmor(root: Path) -> subprocess.CompletedProcess[str]:
    line = [tool("zizmor"), "--offline", "--persona", "auditor", "--strict-collection", "--no-progress", "."]
    return subprocess.run(line, cwd=root, capture_output=True, text=True, timeout=120)


def test_security(checkout: Path) -> None:
    done = zizmor(checkout)
    assert done.returncode == 0, done.stdout
    assert "No findings to report" in done.stdout + done.stderr


def test_security_would_see_an_input_in_a_script(checkout: Path, tmp_path: Path) -> None:
    bad = shutil.copytree(checkout, tmp_path / "bad")
    file = bad / ".github/actions/build/action.yml"
    text = file.read_text()
    file.write_text(text.replace('--output="$OUTPUT"', '--output="${{ inputs.output }}"'))
    done = zizmor(bad)
    assert done.returncode >= 10
    assert "template-injection" in done.stdout


@pytest.mark.parametrize("name", [*FILES, EXAMPLE])
def test_everything_of_others_is_pinned_and_named(name: str) -> None:
    text = (ROOT / name).read_text()
    for uses, comment in re.findall(r"uses: (\S+)(.*)", text):
        if not uses.startswith(("$/", "OWNER/")):
            assert re.fullmatch(r"[\w-]+/[\w./-]+@[0-9a-f]{40}", uses), uses
            assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment), uses
    value = load(name)
    if name in ACTIONS:
        assert set(re.findall(r"inputs\.([\w-]+)", text)) == set(value["inputs"])
    for step in steps(value):
        assert "${{" not in step.get("run", "")


def test_one_version_of_each_action() -> None:
    found = {uses for name in FILES for uses in re.findall(r"uses: (\S+@[0-9a-f]{40})", (ROOT / name).read_text())}
    assert len({uses.split("@")[1] for uses in found}) == len(
        {"/".join(uses.split("@")[0].split("/")[:2]) for uses in found}
    )


@pytest.mark.parametrize("name", [*WORKFLOWS, EXAMPLE])
def test_permissions_are_empty_by_default(name: str) -> None:
    workflow = load(name)
    assert workflow["permissions"] == {}
    for job in workflow["jobs"].values():
        rights = job.get("permissions", {})
        builds = any("$/" in step.get("uses", "") for step in job.get("steps", ()))
        assert not builds or rights == {"contents": "read"}


@pytest.mark.parametrize("name", FILES)
def test_shell(name: str, tmp_path: Path) -> None:
    shellcheck = tool("shellcheck")
    for number, step in enumerate(step for step in steps(load(name)) if "run" in step):
        script = tmp_path / f"{number}.sh"
        script.write_text("#!/usr/bin/env bash\nset -eo pipefail\n" + step["run"])
        done = subprocess.run(
            [shellcheck, "-o", "all", "-e", "SC2154,SC2312,SC2250,SC2310", script], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", [".ci/run", ".ci/wheel", ".ci/language-servers", ".github/actions/install.sh"])
def test_shell_files(name: str) -> None:
    done = subprocess.run([tool("shellcheck"), ROOT / name], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def judge(checkout: Path) -> "Iterator[Client]":
    """GitHub's own server, which reads the files of the checkout."""

    def answers(request: Message) -> object:
        if request["method"] == "actions/readFile":
            return Path(str(request["params"]["path"]).removeprefix("file://")).read_text()
        return None

    repository = {"id": 1, "owner": "someone", "organizationOwned": False, "name": "modelspec",
                  "workspaceUri": checkout.as_uri()}  # fmt: skip
    command: list[str | Path] = ["node", modules() / "@actions/languageserver/dist/cli.bundle.cjs", "--stdio"]
    with server(command, checkout, answers, {"repos": [repository], "logLevel": 3}) as client:
        yield client


needs_server = pytest.mark.skipif(bool(missing("@actions/languageserver")), reason=missing("@actions/languageserver"))


@needs_server
def test_the_language_server_of_github_finds_nothing(checkout: Path) -> None:
    for client in judge(checkout):
        for name in [*FILES, ".github/workflows/example.yml"]:
            language = "github-actions-workflow" if "workflows" in name else "github-actions-action"
            found = client.open(checkout / name, language)
            said = [f"{name}:{one['range']['start']['line'] + 1}: {one['message']}" for one in found]
            assert said == []


@needs_server
@pytest.mark.parametrize(
    ("name", "old", "new", "word"),
    [
        (".github/workflows/model.yml", "          extras: ${{", "          extra: ${{", "extra"),
        (".github/workflows/model.yml", "needs.plan.outputs.matrix", "needs.plans.outputs.matrix", "plans"),
        ("action.yml", "        fail-on: ${{", "        fail-of: ${{", "fail-of"),
        (".github/actions/build/action.yml", "      shell: bash\n", "", "shell"),
        (".github/workflows/example.yml", "extras: sklearn", "extra: sklearn", "extra"),
    ],
)
def test_the_language_server_sees_mistakes(
    checkout: Path, tmp_path: Path, name: str, old: str, new: str, word: str
) -> None:
    bad = shutil.copytree(checkout, tmp_path / "bad")
    text = (bad / name).read_text()
    assert old in text
    (bad / name).write_text(text.replace(old, new))
    language = "github-actions-workflow" if "workflows" in name else "github-actions-action"
    for client in judge(bad):
        assert any(word in one["message"] for one in client.open(bad / name, language))
