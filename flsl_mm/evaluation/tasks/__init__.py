"""Evaluations of frozen features, each a class called with a ViT."""
