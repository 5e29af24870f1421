"""Content-addressed bytes, and records of finished actions."""
