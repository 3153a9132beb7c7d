"""Trials: one module per question that is put to a pair; each asks the workers, judges, and returns plain findings."""
