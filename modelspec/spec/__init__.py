"""The shape of model.yaml: reading it with positions, its models, its rules."""
