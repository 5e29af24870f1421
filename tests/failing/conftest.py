"""`pytest tests/failing --update-golden` writes the expected messages anew; read the difference before you keep it."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the expected messages anew")
