"""Parts of a model that stay as they are at the start of training."""

from collections.abc import Iterable

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch import nn

from ...utils.errors import ConfigError
from ...utils.modules import unwrap_model


@HOOKS.register_module()
class FreezePrototypesHook(Hook):
    """No update of the head's last layer during the first epochs (DINO's and FLSL's recipe).

    Its gradient is dropped right before the optimizer step, so neither moments nor weight decay
    apply; ``requires_grad`` stays on, because a distributed model never synchronizes a parameter
    that was frozen when it was wrapped.

    Args:
        epochs: Number of epochs; a fraction is a part of one.
        share: At most this share of the run, so that a short one trains them too.

    Raises:
        ConfigError: ``epochs`` is negative.
    """

    def __init__(self, epochs: float = 1, share: float = 1.0) -> None:
        if epochs < 0:
            raise ConfigError(f'{type(self).__name__}: epochs must be at least 0, got {epochs}')
        self.epochs, self.share = epochs, share

    def parameters(self, model: nn.Module) -> Iterable[nn.Parameter]:
        """Those that are not updated."""
        return [model.head.prototypes.weight]

    def before_train(self, runner: Runner) -> None:
        """Attach to the optimizer."""
        frozen = list(self.parameters(unwrap_model(runner.model)))
        end = min(self.epochs * len(runner.train_dataloader), self.share * runner.max_iters)

        def drop_gradient(*_) -> None:
            if runner.iter < end:
                for parameter in frozen:
                    parameter.grad = None

        self._handle = runner.optim_wrapper.optimizer.register_step_pre_hook(drop_gradient)

    def after_train(self, runner: Runner) -> None:
        """Detach."""
        self._handle.remove()


@HOOKS.register_module()
class FreezeBackboneHook(FreezePrototypesHook):
    """No update of the backbone at first: a head with random weights would wreck a trained one.

    Args:
        epochs: As of :class:`FreezePrototypesHook`.
        share: As of it.
    """

    def parameters(self, model: nn.Module) -> Iterable[nn.Parameter]:
        """The backbone's."""
        return model.backbone.parameters()
