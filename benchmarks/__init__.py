"""Measurements: ratios side by side in one run, against floors and baselines. `make bench` prints them."""
