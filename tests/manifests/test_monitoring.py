"""Alerts that fire when they should and not before, and queries that name only what the server exports."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.manifests.conftest import FULL, load, tool, written
from tests.runtime.conftest import line, starter

ALERTS = [
    {},
    {"latency_p99": "20ms", "error_rate": 0.0001, "refused_rate": 0.2, "out_of_range_rate": 0.9},
    {"latency_p99": "29s", "error_rate": 0.9, "refused_rate": 0.9},
]


def monitoring(folder: Path, **alerts: Any) -> Path:
    given = {name: FULL[name] for name in ("namespace", "labels", "annotations")}
    monitor = FULL["monitor"] | {"alerts": alerts}
    return written(folder, given | {"formats": ("monitoring",), "monitor": monitor}) / "monitoring"


@pytest.mark.parametrize("alerts", ALERTS)
def test_promtool_takes_the_rules_and_their_tests_pass(alerts: dict[str, Any], tmp_path: Path) -> None:
    promtool, folder = tool("promtool"), monitoring(tmp_path, **alerts)
    promtool("check", "rules", folder / "rules.yaml")
    assert "SUCCESS" in promtool("test", "rules", folder / "rules.test.yaml")


def test_every_alert_has_a_case_in_which_it_fires(tmp_path: Path) -> None:
    folder = monitoring(tmp_path)
    alerts = {rule["alert"] for group in load(folder / "rules.yaml")["groups"] for rule in group["rules"]}
    tests = [one for case in load(folder / "rules.test.yaml")["tests"] for one in case["alert_rule_test"]]
    assert {test["alertname"] for test in tests if test["exp_alerts"]} == alerts
    assert {test["alertname"] for test in tests if not test["exp_alerts"]} == alerts


@pytest.mark.parametrize("rule", [0, 1, 2, 3, 4])
def test_a_rule_that_is_broken_fails_its_test(rule: int, tmp_path: Path) -> None:
    folder = monitoring(tmp_path)
    rules = load(folder / "rules.yaml")
    rules["groups"][0]["rules"][rule]["expr"] = "vector(1) > 2"
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    with pytest.raises(AssertionError, match="FAILED"):
        tool("promtool")("test", "rules", folder / "rules.test.yaml")


def test_the_operator_gets_the_same_rules(tmp_path: Path) -> None:
    folder = monitoring(tmp_path)
    assert load(folder / "prometheusrule.yaml")["spec"] == load(folder / "rules.yaml")


def test_promtool_takes_the_scrape_config(tmp_path: Path) -> None:
    config = load(monitoring(tmp_path) / "scrape.yaml")
    (job,) = config["scrape_configs"]
    # Not every build of Prometheus can ask Kubernetes.
    assert job.pop("kubernetes_sd_configs") == [{"role": "endpointslice", "namespaces": {"names": ["vision"]}}]
    job["static_configs"] = [{"targets": ["localhost:8080"]}]
    (tmp_path / "prometheus.yaml").write_text(yaml.safe_dump(config))
    tool("promtool")("check", "config", "--syntax-only", tmp_path / "prometheus.yaml")


def _queries(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from [item] if key in {"expr", "series"} else _queries(item)
    elif isinstance(value, list):
        for item in value:
            yield from _queries(item)


@pytest.mark.slow
def test_queries_name_only_metrics_that_the_server_exports(tmp_path: Path) -> None:
    begin = next(starter_ := starter())
    server = begin(line(tmp_path))
    text = server.ask("GET", "/metrics")[1].decode()
    list(starter_)
    exported = {"up"}
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE):
        exported |= {f"{name}_{part}" for part in ("bucket", "sum", "count")} if kind == "histogram" else {name}
    folder = monitoring(tmp_path / "out")
    found = list(_queries(json.loads((folder / "dashboard.json").read_text())))
    found += [query for name in ("rules.yaml", "rules.test.yaml") for query in _queries(load(folder / name))]
    used = {name for query in found for name in re.findall(r"([a-z_]+)\{", query)}
    assert len(used) > 10
    assert used <= exported


def test_the_dashboard_has_a_place_for_each_panel(tmp_path: Path) -> None:
    board = json.loads((monitoring(tmp_path) / "dashboard.json").read_text())
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in board["panels"]]
    assert len(places) == len(set(places)) == 10
    assert all(panel["targets"] for panel in board["panels"])
