"""Crafted skops files: each would run code, write a file or call what it should not, if its names were taken on trust."""

import json
import zipfile
from pathlib import Path
from typing import Any

PROTOCOL = 2


def node(loader: str, name: str, **rest: Any) -> dict[str, Any]:
    module, _, kind = name.rpartition(".")
    return {"__class__": kind, "__module__": module, "__loader__": loader, **rest}


def text(value: Any) -> dict[str, Any]:
    return node("JsonNode", "builtins.str", content=json.dumps(value), is_json=True)


def tuple_of(*items: Any) -> dict[str, Any]:
    return node("TupleNode", "builtins.tuple", content=list(items))


def list_of(*items: Any) -> dict[str, Any]:
    return node("ListNode", "builtins.list", content=list(items))


def dict_of(kinds: list[str], content: dict[str, Any], name: str = "builtins.dict") -> dict[str, Any]:
    keys = list_of(*(node("TypeNode", kind) for kind in kinds))
    return node("DictNode", name, key_types=keys, content=content)


def called(name: str, *arguments: Any) -> dict[str, Any]:
    return node("ConstructorFromReduceNode", name, content=tuple_of(*arguments))


def attacks(canary: Path) -> dict[str, dict[str, Any]]:
    """The schemas by what they try."""
    path = str(canary)
    code = f"open({path!r}, 'w').close()"
    empty = dict_of([], {})
    function = node("FunctionNode", "builtins.exec")
    return {
        "exec": called("builtins.exec", text(code)),
        "eval": called("builtins.eval", text(code)),
        "open": called("builtins.open", text(path), text("w")),
        "numpy's runstring": called("numpy.testing._private.utils.runstring", text(code), empty),
        "numpy.memmap": called("numpy.memmap", text(path), text("uint8"), text("w+"), text(0), text(10)),
        "numpy.savetxt": called("numpy.savetxt", text(path), list_of(text(1))),
        "numpy's DataSource": called("numpy.lib._datasource.DataSource", text(path)),
        "a module in a module": called("numpy.f2py.crackfortran.os.system", text(f"touch {path}")),
        "a class in a module that only imports it": called("sklearn.utils._show_versions.Popen", text("true")),
        "exec of a key": dict_of(["builtins.exec"], {code: text(1)}),
        "exec of a list": node("ListNode", "builtins.exec", content=[text(code)]),
        "exec of an array": node("NdArrayNode", "builtins.exec", type="json", content=[], shape=tuple_of(text(0))),
        "exec as a loss": node("LossNode", "builtins.exec", __reduce__={"args": tuple_of(text(code))}, content=empty),
        "exec inside an estimator": node("ObjectNode", "sklearn.linear_model._ridge.Ridge", content=dict_of(
            ["builtins.str"], {"alpha": called("builtins.exec", text(code))})),
        "exec under a key that looks like a node's": dict_of(["builtins.str"], {"__loader__": called("builtins.exec", text(code))}),
        "partial": node("PartialNode", "functools.partial", content={"func": function, "args": tuple_of(), "kwds": empty, "namespace": text(None)}),
        "method": node("MethodNode", "builtins.list", content={"func": "append", "obj": list_of()}),
        "method of an estimator": node("MethodNode", "sklearn.linear_model._ridge.Ridge", content={
            "func": "fit", "obj": node("ObjectNode", "sklearn.linear_model._ridge.Ridge", content=empty)}),
        "methodcaller": node("OperatorFuncNode", "operator.methodcaller", attrs=tuple_of(text("system"))),
        "attrgetter": node("OperatorFuncNode", "operator.attrgetter", attrs=tuple_of(text("__class__"))),
        "function": node("FunctionNode", "builtins.exec"),
        "function of the first protocol": {**node("FunctionNode", "builtins.str"), "protocol": 0,
                                           "content": {"module_path": "builtins", "function": "exec"}},
        "numpy function": node("FunctionNode", "numpy.save"),
        "random generator": node("RandomGeneratorNode", "numpy.random._generator.Generator", content={
            "bit_generator": dict_of(["builtins.str"], {"bit_generator": text("seed")}), "seed_seq": empty}),
        "a known type, constructed": called("sklearn.tree._tree.Tree", text(1), text(1), text(1)),
        "a known type, of keys": dict_of(["sklearn.neighbors._kd_tree.KDTree"], {"x": text(1)}),
        "a known type, of a list": node("ListNode", "sklearn.utils._bunch.Bunch", content=[]),
        "a known function, of keys": dict_of(["sklearn.feature_selection._univariate_selection.f_classif"], {"x": text(1)}),
        "a known function, constructed": called("sklearn.feature_selection._univariate_selection.chi2", text(1), text(1)),
    }  # fmt: skip


def write(schema: dict[str, Any], path: Path, *more: tuple[str, bytes]) -> None:
    """The file, as skops would have written it."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("schema.json", json.dumps({"protocol": PROTOCOL, "_skops_version": "0.16.0", **schema}))
        for name, data in more:
            file.writestr(name, data)
