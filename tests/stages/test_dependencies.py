"""What a model's image needs of packages, and how it is told without the tools that it names."""

from modelspec.stages.dependencies import WheelsLookup


def test_without_the_tools_the_lock_is_still_understood() -> None:
    here = WheelsLookup("dependencies", ("numpy==absent", "uvicorn>=0.54,<1"), "3.11", "linux/amd64", ("numpy",))
    there = WheelsLookup("dependencies", ("numpy==2.4.6", "uvicorn>=0.54,<1"), "3.11", "linux/amd64")
    assert here.impossible
    assert not there.impossible
    assert here.is_like(there.name)
    assert not here.is_like(there.name.replace("3.11", "3.12"))
    assert not here.is_like(there.name.replace("numpy==2.4.6", "numpy==2.4.6, scipy==1"))
