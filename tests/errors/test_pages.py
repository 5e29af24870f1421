"""The pages of errors that only a build can show: the failing example gives the code, the fixed one does not.

Under `## Fails` and `## Fixed` a page has a block `yaml build` (the model.yaml), blocks such as `python data.py` (a file
of that name), and a block `console` where the command is not plain `modelspec build`. The files that the examples name
are those of `write_files`.
"""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from modelspec.errors import CODES, Exit
from modelspec.formats.onnx_session import open_session
from modelspec.report.pages import Example, read
from tests import texts
from tests.stages import graphs

ELSEWHERE = {
    "MS403": "tests/build/test_cache.py::test_a_full_disk_is_said_and_leaves_nothing",
    "MS404": "tests/errors/test_pages.py::test_another_system_is_refused",
    "MS407": "tests/errors/test_pages.py::test_another_build_that_never_ends_is_not_waited_for",
    "MS411": "tests/oci/test_transfer.py::test_without_the_right_password_the_registry_is_named_and_no_secret",
    "MS412": "tests/oci/test_transfer.py::test_what_cannot_be_had",
    "MS413": "tests/oci/test_transfer.py::test_what_cannot_be_had",
    "MS414": "tests/oci/test_credentials.py::test_a_helper_that_fails",
    "MS415": "tests/oci/test_provision.py::test_without_an_engine",
    "MS416": "tests/oci/test_provision.py::test_an_engine_that_may_not_be_used",
    "MS418": "tests/oci/test_provision.py::test_an_engine_of_long_ago",
    "MS417": "tests/oci/test_credentials.py::test_a_config_that_cannot_be_read",
    "MS366": "tests/build/test_resources.py::test_what_is_no_amount_is_refused",
    "MS408": "tests/build/test_image.py::test_offline_says_what_is_not_in_the_lock",
    "MS409": "tests/build/test_image.py::test_an_index_that_does_not_answer_is_said_without_its_password",
    "MS410": "tests/build/test_image.py::test_wheels_with_other_digests_are_refused",
    "MS540": "tests/oci/test_layer.py::test_an_odd_name_is_refused",
    "MS541": "tests/stages/test_base.py::test_a_base_with_musl_is_refused",
    "MS542": "tests/build/test_image.py::test_another_python_is_refused_with_its_fix",
    "MS543": "tests/stages/test_base.py::test_a_base_for_another_machine_is_refused",
    "MS562": "tests/build/test_image.py::test_two_platforms_make_an_index",
    "MS650": "tests/build/test_image.py::test_a_flipped_byte_is_found_and_named",
    "MS651": "tests/build/test_image.py::test_another_model_in_the_image_is_found",
    "MS451": "tests/build/test_cache.py::test_a_full_cache_is_done_without",
    "MS452": "tests/build/test_lock.py::test_a_folder_that_cannot_be_written_to_is_a_warning",
    "MS453": "tests/execute/test_isolation.py::test_a_kernel_that_keeps_the_network_is_said_once",
    "MS501": "tests/errors/test_pages.py::test_a_surprise_in_a_stage_is_a_clean_failure",
    "MS511": "tests/errors/test_pages.py::test_a_refusal_of_the_quantizer_is_told",
    "MS421": "tests/engines/test_record.py::test_an_engine_of_another_gpu_is_refused_and_both_are_named",
    "MS422": "tests/formats/test_onnx_session.py::test_a_provider_that_is_not_used_is_an_error",
    "MS515": "tests/stages/test_compile.py::test_an_artifact_that_answers_otherwise_is_refused",
    "MS581": "tests/engines/test_build.py::test_what_the_parser_refuses_is_told",
    "MS582": "tests/engines/test_record.py::test_a_damaged_record_is_told",
    "MS547": "tests/oci/test_provision.py::test_what_fails_in_the_engine_is_said",
    "MS548": "tests/oci/test_provision.py::test_a_template_that_adds_something_is_noticed",
    "MS601": "tests/faults/test_kill.py::test_an_input_that_changes_during_the_build_fails_it",
    "MS630": "tests/build/test_lock.py::test_a_lock_that_cannot_be_understood_is_said_and_can_be_written_anew",
    "MS631": "tests/build/test_lock.py::test_locked_names_everything_that_differs",
    "MS632": "tests/build/test_lock.py::test_a_result_that_differs_from_run_to_run_is_noticed",
    "MS633": "tests/build/test_lock.py::test_locked_without_a_lock_is_refused",
    "MS640": "tests/build/test_fetch.py::test_other_bytes_are_refused_and_not_kept",
    "MS620": "tests/build/test_cache.py::test_a_cache_that_others_can_write_to_is_refused",
    "MS602": "tests/errors/test_pages.py::test_a_damaged_cache_is_told_and_repaired",
    "MS570": "tests/manifests/test_templates.py::test_bad_templates_are_refused_with_line_and_reason",
    "MS571": "tests/manifests/test_templates.py::test_bad_templates_are_refused_with_line_and_reason",
    "MS572": "tests/manifests/test_templates.py::test_bad_templates_are_refused_with_line_and_reason",
    "MS573": "tests/manifests/test_templates.py::test_bad_templates_are_refused_with_line_and_reason",
    "MS574": "tests/manifests/test_templates.py::test_a_template_without_effect_is_refused",
    "MS576": "tests/stages/test_manifest_render.py::test_triton_takes_no_compressed_model",
    "MS603": "tests/build/test_verify.py::test_an_added_file",
    "MS604": "tests/build/test_verify.py::test_edited_gates_are_named_all_at_once",
    "MS605": "tests/build/test_verify.py::test_a_changed_weight_whose_digests_agree_shows_in_the_golden_outputs",
    "MS606": "tests/build/test_rebuild.py::test_another_spec_is_said_first_and_nothing_is_built",
    "MS653": "tests/oci/test_registry.py::test_other_bytes_are_refused_and_not_kept",
    "MS654": "tests/oci/test_transfer.py::test_a_version_with_another_digest_is_refused",
    "MS655": "tests/oci/test_registry.py::test_what_is_no_manifest_is_refused",
    "MS661": "tests/oci/test_registry.py::test_what_could_be_read_in_two_ways_is_refused",
    "MS607": "tests/build/test_rebuild.py::test_a_changed_weight_is_named_with_its_file",
}
"""Codes that a page cannot show by files and a command; each is shown by a test."""

SHOWN = [code for code in CODES if code >= "MS400" and code != "MS611" and code not in ELSEWHERE]


def write_files(folder: Path) -> None:
    """The models and data sets of the examples: 64 features or an 8x8 image in, 10 classes out."""
    (w,) = graphs.weights((64, 10))
    head = helper.make_node("MatMul", ["image", "w"], ["logits"], name="head")
    put(folder, "model", [head], {"w": w}, {"image": ("batch", 64)}, {"logits": ("batch", 10)})
    relu = helper.make_node("Relu", ["image"], ["logits"], name="relu")
    put(folder, "relu", [relu], {}, {"image": ("batch", 64)}, {"logits": ("batch", 64)})
    (small,) = graphs.weights((2, 2))
    tiny = helper.make_node("MatMul", ["image", "w"], ["logits"], name="head")
    put(folder, "tiny", [tiny], {"w": small}, {"image": ("batch", 2)}, {"logits": ("batch", 2)})
    write_third(folder, w)
    for name, made in (("conv", graphs.conv), ("transformer", graphs.attention)):
        shutil.copy(made(folder / "parts" / name) / "model.onnx", folder / f"{name}.onnx")
    texts.write_model(folder / "moods.onnx")
    texts.write_tokenizer(folder / "tokenizer.json")
    texts.write_texts(folder / "moods.jsonl")
    (folder / "empty.onnx").touch()
    future = onnx.load(folder / "model.onnx")
    future.opset_import[0].version = 99
    onnx.save(future, folder / "future.onnx")
    write_odd_models(folder)
    write_data(folder)
    write_estimators(folder)


def write_third(folder: Path, w: graphs.Array) -> None:
    """A model that needs three samples in a batch: it adds what it says of the third to each."""
    nodes = [
        helper.make_node("Gather", ["image", "two"], ["third"], name="third"),
        helper.make_node("Add", ["image", "third"], ["sum"], name="sum"),
        helper.make_node("MatMul", ["sum", "w"], ["logits"], name="head"),
    ]
    put(folder, "third", nodes, {"w": w, "two": np.array([2])}, {"image": ("batch", 64)}, {"logits": ("batch", 10)})


def put(folder: Path, name: str, nodes: list[onnx.NodeProto], weights: dict[str, graphs.Array],
        inputs: dict[str, tuple[str | int, ...]], outputs: dict[str, tuple[str | int, ...]]) -> None:  # fmt: skip
    shutil.copy(
        graphs.save(folder / "parts" / name, nodes, weights, inputs, outputs) / "model.onnx", folder / f"{name}.onnx"
    )


def write_odd_models(folder: Path) -> None:
    """A model whose second input is a shape, and two with external data: beside it, and out of the folder."""
    node = helper.make_node("Reshape", ["image", "shape"], ["logits"], name="reshape", allowzero=1)
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, (16,)),
              helper.make_tensor_value_info("shape", TensorProto.INT64, (2,))]  # fmt: skip
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ("a", "b"))
    graph = helper.make_graph([node], "graph", inputs, [output])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "reshape.onnx"
    )
    for name in ("beside", "escaping"):
        (folder / name).mkdir()
        model = onnx.load(folder / "model.onnx")
        onnx.save(
            model, folder / name / "model.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0
        )
    model = onnx.load(folder / "escaping" / "model.onnx", load_external_data=False)
    model.graph.initializer[0].external_data[0].value = "../model.onnx"
    onnx.save(model, folder / "escaping" / "model.onnx")
    assert numpy_helper.to_array(onnx.load(folder / "beside" / "model.onnx").graph.initializer[0]).shape == (64, 10)


def write_data(folder: Path) -> None:
    random = np.random.default_rng(0)
    image = random.normal(size=(32, 64)).astype(np.float32)
    digit = open_session(folder / "model.onnx").run({"image": image})["logits"].argmax(axis=1)
    digit[:4] = (digit[:4] + 1) % 10
    np.savez(folder / "test.npz", image=image, digit=digit)
    np.savez(folder / "wide.npz", image=np.ones((4, 65), np.float32), digit=np.arange(4))
    np.savez(folder / "words.npz", image=image, digit=np.where(digit < 5, "few", "many"))
    np.savez(folder / "images.npz", x=random.normal(size=(16, 1, 8, 8)).astype(np.float32))
    np.savez(folder / "sequences.npz", x=random.normal(size=(16, 5, 16)).astype(np.float32))
    (folder / "damaged.npz").write_bytes((folder / "test.npz").read_bytes()[:500])


def write_estimators(folder: Path) -> None:
    import skops.io
    from sklearn.datasets import load_wine
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(*load_wine(return_X_y=True))
    skops.io.dump(model, folder / "model.skops")
    for name in ("model.joblib", "renamed.skops"):
        (folder / name).write_bytes(b"\x80\x04cos\nsystem\n")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    write_files(folder)
    shutil.rmtree(folder / "parts")
    return folder


Done = subprocess.CompletedProcess[str]


def run(folder: Path, cache: Path, *arguments: str) -> Done:
    environment = {**os.environ, "MODELSPEC_CACHE_DIR": str(cache)}
    command = [sys.executable, "-m", "modelspec", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def shown(examples: list[Example], files: Path, folder: Path) -> Done:
    """Do what the blocks say, in a copy of the files."""
    shutil.copytree(files, folder)
    arguments = ["build"]
    for example in examples:
        if example.language == "console":
            program, *arguments = shlex.split(example.text.removeprefix("$ "))
            assert program == "modelspec"
        else:
            name = "model.yaml" if example.language == "yaml" else example.marks[0]
            (folder / name).write_text(example.text)
    return run(folder, files.parent / "shared-cache", *arguments)


@pytest.mark.slow
@pytest.mark.parametrize("code", SHOWN)
def test_the_failing_example_gives_the_code_and_the_fixed_one_does_not(code: str, files: Path, tmp_path: Path) -> None:
    status = CODES[code][0]
    failed = shown(read(code).examples("Fails"), files, tmp_path / "fails")
    word = "warning" if status is Exit.OK else "error"
    assert f"{word}[{code}]" in failed.stderr, failed.stderr
    assert failed.returncode == status, failed.stderr
    fixed = shown(read(code).examples("Fixed"), files, tmp_path / "fixed")
    assert fixed.returncode == 0, fixed.stderr
    assert code not in fixed.stderr
    for text in (failed.stderr, fixed.stderr):
        assert "Traceback" not in text
        # The log of an action is named; the folder it worked in is nobody's business.
        assert str(files.parent / "shared-cache") not in text.split("\nlog of ")[0]


def test_codes_shown_elsewhere_are_codes_and_their_tests_exist() -> None:
    for code, test in ELSEWHERE.items():
        assert code in CODES
        path, _, name = test.partition("::")
        assert f"def {name}(" in (Path(__file__).parents[2] / path).read_text()


PLAIN = """\
apiVersion: modelspec/v1
name: digits
version: "1.0.0"
source: {framework: onnx, artifact: model.onnx}
targets: [{device: cpu}]
"""


@pytest.fixture
def plain(files: Path, tmp_path: Path) -> Path:
    """A project that builds."""
    shutil.copytree(files, tmp_path / "plain")
    (tmp_path / "plain" / "model.yaml").write_text(PLAIN)
    return tmp_path / "plain"


def test_another_system_is_refused(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from modelspec.build import Asked, build
    from modelspec.errors import ModelspecError

    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(ModelspecError, match="MS404 builds run on Linux, not on win32"):
        build(Asked(plain / "model.yaml", plain / "cache"), print, print)


def test_another_build_that_never_ends_is_not_waited_for(plain: Path) -> None:
    from modelspec.build import Asked, prepare

    prepared = prepare(Asked(plain / "model.yaml", plain / "cache"))
    key = next(match.key for match in prepared.matches.values() if match.key)
    with prepared.store.lock(key) as lock:
        assert lock.try_acquire()
        done = run(plain, plain / "cache", "build", "--timeout", "1")
    assert done.returncode == Exit.ENVIRONMENT
    assert "error[MS407]" in done.stderr
    assert run(plain, plain / "cache", "build").returncode == 0


def test_a_surprise_in_a_stage_is_a_clean_failure(plain: Path) -> None:
    """A name that no file system takes: nothing in modelspec foresees it."""
    (plain / "data.py").write_text('import numpy\ndef load():\n    return {"x" * 100_000: numpy.zeros((2, 64))}\n')
    (plain / "model.yaml").write_text(
        PLAIN
        + 'data: {test: {loader: "data.py:load"}}\nevaluate: {data: test, metrics: [agreement], task: embedding}\n'
    )
    done = run(plain, plain / "cache", "build")
    assert done.returncode == Exit.STAGE, done.stderr
    assert "error[MS501]" in done.stderr
    assert "Traceback" not in done.stderr
    log = Path(done.stderr.split("log of load:test: ")[1].splitlines()[0])
    assert "Traceback" in log.read_text()


def test_a_refusal_of_the_quantizer_is_told(tmp_path: Path) -> None:
    from modelspec.errors import ModelspecError
    from modelspec.stages._quantize_ort import refusals

    with pytest.raises(ModelspecError, match="MS511 the model cannot be quantized: too many bins"), refusals():
        raise ValueError("too many bins\nfor the range")


def test_a_damaged_cache_is_told_and_repaired(plain: Path) -> None:
    assert run(plain, plain / "cache", "build").returncode == 0
    blob = next(path for path in sorted((plain / "cache" / "v1" / "cas").rglob("*")) if path.is_file())
    blob.chmod(0o644)
    blob.write_bytes(blob.read_bytes()[:-1])
    done = run(plain, plain / "cache", "cache", "verify")
    assert (done.returncode, "error[MS602]" in done.stderr) == (Exit.INTEGRITY, True)
    assert run(plain, plain / "cache", "cache", "verify", "--repair").returncode == 0
    assert run(plain, plain / "cache", "cache", "verify").returncode == 0
    assert run(plain, plain / "cache", "build").returncode == 0
