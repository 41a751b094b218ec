"""Ablations: what each part of the network and of its training contributes to the shipped recipe."""
