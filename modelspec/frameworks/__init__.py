"""One file per framework; the folder is the registry."""
