"""Container images: references, descriptors, layouts, registries and the Docker engine."""
