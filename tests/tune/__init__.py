"""The search of modelspec tune."""
