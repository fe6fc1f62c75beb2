"""Evaluations of frozen features, each a class called with a ViT."""

from .frozen_task import FrozenTask

__all__ = ['FrozenTask']
