"""Runs actions in worker processes; the only caller of Stage.run."""
