"""Measures how good a bundle is: likelihood, baselines, distances to real music, faults, repetition, memorisation."""
