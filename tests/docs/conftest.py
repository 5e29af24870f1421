"""Fixtures of the tests of docs/."""

from tests.oci.conftest import base_tar, engine

__all__ = ["base_tar", "engine"]
