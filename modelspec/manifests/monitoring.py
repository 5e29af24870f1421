"""What the templates of the format `monitoring` see, and the cases that its alerts are tested with."""

import zlib
from typing import Any

from modelspec.manifests.facts import Facts
from modelspec.manifests.options import Alerts, Manifests

_REQUESTS = 60.0
"""Requests a minute in the cases."""
_FASTEST, _SLOWEST = "0.0005", "30"
"""The least and the largest bound that the server counts durations by."""
_FOR = "x60"


def values(block: Manifests, facts: Facts) -> dict[str, Any]:
    """How Prometheus finds the servers, and where the dashboard is known by."""
    monitor, token = block.monitor, block.monitor.token
    return {
        "monitor_labels": {**dict(sorted(monitor.labels.items())), "app.kubernetes.io/name": facts.name},
        "authorization": {"type": "Bearer", "credentials": {"name": token.secret, "key": token.key}} if token else None,
        "scrape_authorization": {"credentials_file": f"/etc/prometheus/secrets/{token.secret}/{token.key}"} if token else None,
        "scrape_namespaces": {"names": [block.namespace]} if block.namespace else None,
        "scrape_keep": f"{facts.name};http",
        "dashboard_uid": f"modelspec-{zlib.crc32(facts.name.encode()):08x}",
    }  # fmt: skip


def from_rules(rules: Any, block: Manifests) -> dict[str, Any]:
    """What follows from the rules: they themselves, and a case for each alert, with one in which none may fire."""
    alerts = {rule["alert"]: rule for group in rules["groups"] for rule in group["rules"] if "alert" in rule}
    cases = [
        _case("all is well, though not perfect", alerts, [], up=True, traffic=_healthy(block.monitor.alerts)),
        _case("no server answers", alerts, ["ModelDown"], up=False, traffic={}),
        _case("every answer is slow", alerts, ["ModelSlow"], up=True, traffic={"200": _REQUESTS}, fast=False),
        _case("every request fails", alerts, ["ModelFailing"], up=True, traffic={"500": _REQUESTS}),
        _case("every request is turned away", alerts, ["ModelFull"], up=True, traffic={"503": _REQUESTS}),
        _case(
            "every input is out of range", alerts, ["ModelInputsOutOfRange"], up=True, traffic={"400": _REQUESTS},
            strange=_REQUESTS,
        ),
    ]  # fmt: skip
    return {"rules": rules, "alert_cases": cases}


def _healthy(limits: Alerts) -> dict[str, float]:
    """Half of what each limit allows goes wrong."""
    failed, refused = (_REQUESTS * min(rate, 0.5) / 2 for rate in (limits.error_rate, limits.refused_rate))
    return {"200": _REQUESTS - failed - refused, "500": failed, "503": refused}


def _case(
    name: str,
    alerts: dict[str, Any],
    firing: list[str],
    *,
    up: bool,
    traffic: dict[str, float],
    fast: bool = True,
    strange: float = 0.0,
) -> dict[str, Any]:
    total = sum(traffic.values())
    counters = {
        "up{job=$job}": "1" if up else "0",
        **{f'modelspec_requests_total{{job=$job,route="infer",code="{code}"}}': rate for code, rate in traffic.items()},
        f'modelspec_infer_seconds_bucket{{job=$job,le="{_FASTEST}"}}': total if fast else 0.0,
        f'modelspec_infer_seconds_bucket{{job=$job,le="{_SLOWEST}"}}': total if fast else 0.0,
        'modelspec_infer_seconds_bucket{job=$job,le="+Inf"}': total,
        'modelspec_inputs_out_of_range_total{job=$job,input="x"}': strange,
    }
    series = [
        {"name": key, "values_": f"{value}+0{_FOR}" if isinstance(value, str) else f"0+{value:.9g}{_FOR}"}
        for key, value in counters.items()
    ]
    known = [alert for alert in alerts if alert in firing]
    quiet = [alert for alert in alerts if alert not in firing]
    return {
        "name": name,
        "series": series,
        "quiet": quiet,
        "firing": [
            {"alert": alert, "labels": alerts[alert].get("labels"), "annotations": alerts[alert].get("annotations")}
            for alert in known
        ],
    }
