"""Tests that need an NVIDIA GPU; each says what it lacks. `python -m benchmarks.gpu` runs them and the GPU benchmarks."""
