"""One file per stage; the folder is the registry."""
