"""Bytes -> Instance and Background. Nothing here imports models, explainers or report."""
