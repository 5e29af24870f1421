"""What is written to deploy a model."""
