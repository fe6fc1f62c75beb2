"""Two parameter groups: with and without weight decay."""

from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from mmpretrain.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS
from torch import nn

from ...utils.errors import ConfigError
from .make_optimizer import make_optimizer


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class TwoGroupConstructor(DefaultOptimWrapperConstructor):
    """Weight decay on matrices only: not on biases, norms or other 1-D parameters.

    mmengine's default constructor makes one group per parameter as soon as ``paramwise_cfg`` is
    set, which costs the fused optimizers their speed; this one makes two. Parameters without
    gradient (teacher, fixed position embedding) are in neither. The groups carry ``decayed`` so
    that a schedule of the weight decay knows which one it applies to.

    ``fused=True`` in the optimizer's config is dropped, with a warning, where torch has no fused
    kernel for the device; the updates are the same.

    Raises:
        ConfigError: ``paramwise_cfg`` is given; the two groups are all there is.
    """

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the wrapped optimizer of ``model``."""
        if self.paramwise_cfg:
            raise ConfigError(
                f'TwoGroupConstructor takes no paramwise_cfg, got {self.paramwise_cfg}'
            )
        trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        decayed = [p for n, p in trained if p.ndim > 1 and not n.endswith('.bias')]
        others = [p for n, p in trained if p.ndim <= 1 or n.endswith('.bias')]
        groups = [
            dict(params=decayed, decayed=True),
            dict(params=others, decayed=False, weight_decay=0.0),
        ]
        optimizer = make_optimizer(self.optimizer_cfg, groups)
        config = {'type': 'OptimWrapper', **self.optim_wrapper_cfg}
        return OPTIM_WRAPPERS.build(config, default_args=dict(optimizer=optimizer))
