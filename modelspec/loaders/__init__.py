"""One file per data format; the folder is the registry."""
