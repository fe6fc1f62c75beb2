"""The teacher's update after every optimizer step."""

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from ...utils.modules import unwrap_model


@HOOKS.register_module()
class TeacherUpdateHook(Hook):
    """Call ``model.update_teacher()`` once for each optimizer step.

    Attached to the optimizer itself, so it neither fires on the micro-batches of gradient
    accumulation, nor on steps that the loss scaler of float16 skips.
    """

    def before_train(self, runner: Runner) -> None:
        """Attach to the optimizer."""
        model = unwrap_model(runner.model)
        self._handle = runner.optim_wrapper.optimizer.register_step_post_hook(
            lambda *_: model.update_teacher()
        )

    def after_train(self, runner: Runner) -> None:
        """Detach."""
        self._handle.remove()
