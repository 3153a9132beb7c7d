"""The rule of the verdict on NumPy arrays; knows nothing of frameworks, workers or reports."""
