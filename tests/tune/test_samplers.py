"""What is tried: every point of a grid, and with a seed the same proposals each time."""

from typing import Any

import pytest

from modelspec import toolchain
from modelspec.errors import ModelspecError
from modelspec.spec.tune import Range, Tune
from modelspec.tune.samplers import Point, Sampler, sampler_for

SEARCH: Any = {
    "a": {"low": 0.1, "high": 0.5, "step": 0.1},
    "b": ("x", {"y": 1}),
    "c": {"low": 1, "high": 3},
}
OPEN: Any = {"rate": {"low": 1e-5, "high": 1e-1, "log": True}, "share": {"low": 0.0, "high": 1.0}}


def points(sampler: Sampler, cost: Any = lambda point: (1.0, 0.0)) -> list[Point]:
    """Everything that is proposed."""
    found = []
    while (point := sampler.ask()) is not None:
        found.append(point)
        sampler.tell(*cost(point))
    return found


def test_a_range_has_the_values_that_people_would_write() -> None:
    assert Range(low=0.1, high=0.7, step=0.1).values() == (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
    assert Range(low=1, high=4).values() == (1, 2, 3, 4)
    assert Range(low=1, high=6, step=2).values() == (1, 3, 5)
    assert Range(low=0.0, high=1.0).values() is None


def test_a_grid_has_every_point_once() -> None:
    found = points(sampler_for(Tune(search=SEARCH, sampler="grid")))
    assert len(found) == sampler_for(Tune(search=SEARCH, sampler="grid")).most == 5 * 2 * 3
    assert len({repr(point) for point in found}) == 30
    assert found[:2] == [{"a": 0.1, "b": "x", "c": 1}, {"a": 0.1, "b": "x", "c": 2}]


@pytest.mark.parametrize("search", [SEARCH, OPEN])
def test_the_same_seed_proposes_the_same(search: Any) -> None:
    def proposed(seed: int) -> list[Point]:
        def cost(point: Point) -> tuple[float, float]:
            return (float(len(repr(point))), 0.0)

        return points(sampler_for(Tune(search=search, trials=15, seed=seed)), cost)

    assert proposed(3) == proposed(3)
    assert proposed(3) != proposed(4)


def test_no_point_is_proposed_twice_and_a_small_space_is_exhausted() -> None:
    found = points(sampler_for(Tune(search=SEARCH, trials=500)))
    assert len({repr(point) for point in found}) == len(found) == 30


def test_it_learns_where_the_gates_pass() -> None:
    """The smaller `share` the better the objective, and below 0.6 the gates fail."""
    found = points(
        sampler_for(Tune(search=OPEN, trials=60)), lambda point: (point["share"], max(0.0, 0.6 - point["share"]))
    )
    late = [point["share"] for point in found[30:]]
    assert sum(0.55 < share < 0.8 for share in late) > 15
    assert min(share for share in (point["share"] for point in found) if share >= 0.6) < 0.63


def test_what_cannot_be_built_is_no_end() -> None:
    def cost(point: Point) -> tuple[float | None, float]:
        return (None, 0.0) if point["b"] == "x" else (1.0, 0.0)

    assert len(points(sampler_for(Tune(search=SEARCH, trials=25)), cost)) == 25


def test_open_ranges_stay_inside_and_short() -> None:
    for point in points(sampler_for(Tune(search=OPEN, trials=30))):
        assert 1e-5 <= point["rate"] <= 1e-1
        assert float(f"{point['share']:.6g}") == point["share"]


def test_without_optuna_the_fix_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain, "version", lambda name: None)
    with pytest.raises(ModelspecError, match="MS401 not installed: optuna") as caught:
        sampler_for(Tune(search=SEARCH))
    assert "modelspec-build[tune]" in caught.value.diagnostics[0].help
    assert points(sampler_for(Tune(search=SEARCH, sampler="grid")))
