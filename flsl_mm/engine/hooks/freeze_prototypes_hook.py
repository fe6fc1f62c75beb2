"""Prototypes that stay as they are at the start of training."""

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from ...utils.modules import unwrap_model


@HOOKS.register_module()
class FreezePrototypesHook(Hook):
    """No update of the head's last layer during the first epochs (DINO's and FLSL's recipe).

    Its gradient is dropped right before the optimizer step, so neither moments nor weight decay
    apply; ``requires_grad`` stays on, because a distributed model never synchronizes a parameter
    that was frozen when it was wrapped.

    Args:
        epochs: Number of epochs.
        share: At most this share of the run, so that a short one trains its prototypes too.
    """

    def __init__(self, epochs: int = 1, share: float = 1.0) -> None:
        self.epochs, self.share = epochs, share

    def before_train(self, runner: Runner) -> None:
        """Attach to the optimizer."""
        model = unwrap_model(runner.model)
        weight = model.head.prototypes.weight

        end = min(self.epochs * len(runner.train_dataloader), self.share * runner.max_iters)

        def drop_gradient(*_) -> None:
            if runner.iter < end:
                weight.grad = None

        self._handle = runner.optim_wrapper.optimizer.register_step_pre_hook(drop_gradient)

    def after_train(self, runner: Runner) -> None:
        """Detach."""
        self._handle.remove()
