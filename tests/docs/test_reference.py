"""The pages of docs/ that are written from the code are fresh, whole, and lead somewhere."""

import re
from pathlib import Path

import pytest

from modelspec import registry
from modelspec.spec import schema
from tests.docs.reference import DOCS, PAGES


@pytest.mark.parametrize("name", PAGES)
def test_page_is_fresh(name: str) -> None:
    assert (DOCS / name).read_text() == PAGES[name](), "run: python -m tests.docs.reference"


def test_every_block_and_every_option_of_a_stage_has_its_row() -> None:
    text = (DOCS / "keys.md").read_text()
    for block in schema.build()["properties"]:
        assert f"`{block}`" in text
    for name, stage in registry.stages().items():
        for option in stage.model_fields if stage.block is None else ():
            assert f"`{option}`" in text.partition(f"\n## {name}\n")[2].split("\n## ", 1)[0]


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / link).exists(), link
