"""Tests of the engines: recipe, builder, record."""
