"""One file per device; the folder is the registry."""
