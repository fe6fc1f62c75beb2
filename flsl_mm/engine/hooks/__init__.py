"""Hooks of training."""

from .atomic_checkpoint_hook import AtomicCheckpointHook
from .broken_images_hook import BrokenImagesHook
from .data_fit_hook import DataFitHook
from .deferred_log_hook import DeferredLogHook
from .feature_maps_hook import FeatureMapsHook
from .freeze_hooks import FreezeBackboneHook, FreezePrototypesHook
from .frozen_evaluation_hook import FrozenEvaluationHook
from .non_finite_loss_hook import NonFiniteLossHook
from .pictures_hook import PicturesHook
from .schedule_hook import ScheduleHook
from .teacher_update_hook import TeacherUpdateHook
from .throughput_hook import ThroughputHook
from .timed_logger_hook import TimedLoggerHook

__all__ = [
    'AtomicCheckpointHook',
    'BrokenImagesHook',
    'DataFitHook',
    'DeferredLogHook',
    'FeatureMapsHook',
    'FreezeBackboneHook',
    'FreezePrototypesHook',
    'FrozenEvaluationHook',
    'NonFiniteLossHook',
    'PicturesHook',
    'ScheduleHook',
    'TeacherUpdateHook',
    'ThroughputHook',
    'TimedLoggerHook',
]
