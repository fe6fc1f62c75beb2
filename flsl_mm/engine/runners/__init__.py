from .flsl_runner import FLSLRunner, latest_checkpoint

__all__ = ['FLSLRunner', 'latest_checkpoint']
