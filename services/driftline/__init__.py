"""Driftline watches machine-learning models in production."""
