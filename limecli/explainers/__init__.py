"""(Instance, Predictor, Background) -> Explanation. One kind of instance, one file."""
