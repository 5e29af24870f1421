"""`python -m modelspec` is the `modelspec` command."""

from modelspec.cli import main

main()
