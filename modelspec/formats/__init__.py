"""One module for each format whose usual reader is unsafe or not deterministic."""
