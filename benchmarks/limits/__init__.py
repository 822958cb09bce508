"""Whether designs keep their time limit, whatever they are asked for: see `__main__`."""
