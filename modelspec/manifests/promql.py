"""Queries for Prometheus with values in them: a name in a query stands for a literal, never for a piece of a query."""

import re

_PLACE = re.compile(r"\$([a-z_]+)")


def promql(query: str, /, **given: str | float) -> str:
    """`rate(x{job=$job}[5m]) > $limit` with each `$name` as PromQL writes its value. Raises ValueError for one that is not given."""

    def literal(found: re.Match[str]) -> str:
        if found[1] not in given:
            raise ValueError(f"the query has no value for ${found[1]}")
        value = given[found[1]]
        return _quoted(value) if isinstance(value, str) else f"{value:.9g}"

    return _PLACE.sub(literal, query)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
