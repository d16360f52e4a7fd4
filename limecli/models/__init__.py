"""A model file -> Predictor. One format, one file; no imports from inputs, explainers, report."""
