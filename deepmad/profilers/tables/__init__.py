"""Latency tables: files of measured rows, and the predictions read from them. Builders, importers and verbs come in."""
