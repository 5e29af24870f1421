"""What `verify` does with published files, each in a worker: one file each, found by registry.py."""
