"""Lanes, blocks and the worker's clock: how work is timed so that a figure can be trusted."""
