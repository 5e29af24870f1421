"""A declarative build system for machine-learning models."""
