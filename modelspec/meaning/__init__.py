"""Compares two files by what they mean, where their bytes differ: values, arrays, texts, graphs."""
