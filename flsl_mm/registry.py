"""The one registry of this project's own; everything else is in OpenMMLab's."""

from mmengine.registry import Registry

# Frozen-feature evaluations: a task is built from its config and called with a frozen
# `FLSLVisionTransformer`; it returns a dict of numbers. Hooks and tools name them by config.
FROZEN_TASKS = Registry('frozen task', scope='flsl_mm', locations=['flsl_mm.evaluation.tasks'])
