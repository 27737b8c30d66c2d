"""Measuring the model: depth metrics and the embedded model's table."""
