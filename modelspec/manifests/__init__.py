"""What deploys a model: options, the facts of an image, and templates that become checked files."""
