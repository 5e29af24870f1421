"""Diagnostics and events as text, JSON, GitHub commands and SARIF."""
