"""Engines of TensorRT and TensorRT for RTX: recipe, builder, record. One code for both, which differ by the module it is given."""
