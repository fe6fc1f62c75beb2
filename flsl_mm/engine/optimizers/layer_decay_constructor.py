"""Layer-wise learning rates for detectors and segmentors."""

from mmcv.cnn import is_norm
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS
from torch import nn

from ...utils.errors import ConfigError
from ...utils.modules import unwrap_model
from .make_optimizer import make_optimizer

_FREE = ('pos_embed', 'rel_pos_h', 'rel_pos_w', 'cls_token', 'reg_token')


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayConstructor(DefaultOptimWrapperConstructor):
    """Learning rates that fall with depth in the backbone, and weight decay on matrices only.

    The learning rate of a parameter is ``lr * decay_rate ** (L + 1 - l)``, with l = 0 for what is
    before the blocks (patch and position embedding, prefix tokens), l = 1..L for the L blocks and
    l = L + 1 for everything after them: pyramid, neck and heads (ViTDet, Li et al. 2022; BEiT).
    Norms, LayerScale, prefix tokens, position embeddings and relative positions have no weight
    decay, nor have biases unless asked for. With ``decay_rate=1.0`` only that remains.

    One group per learning rate and weight decay, the highest learning rate first: that is the one
    that mmengine logs as ``lr``. Frozen parameters are in none.

    Args:
        optim_wrapper_cfg: Config of the optimizer wrapper with its ``optimizer``; ``OptimWrapper``
            if it has no type.
        paramwise_cfg: ``decay_rate`` in (0, 1], and optionally ``bias_decay_mult``, the factor (0)
            of the weight decay on biases other than those of norms.

    Raises:
        ConfigError: ``paramwise_cfg`` lacks ``decay_rate``, has more, or it is out of range.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        super().__init__(optim_wrapper_cfg, paramwise_cfg)
        if not {'decay_rate'} <= set(self.paramwise_cfg) <= {'decay_rate', 'bias_decay_mult'}:
            raise ConfigError(
                'LayerDecayConstructor takes paramwise_cfg=dict(decay_rate=...) and '
                f'bias_decay_mult, got {dict(self.paramwise_cfg)}'
            )
        self.decay_rate = self.paramwise_cfg['decay_rate']
        self.bias_decay_mult = self.paramwise_cfg.get('bias_decay_mult', 0.0)
        if not 0 < self.decay_rate <= 1:
            raise ConfigError(f'decay_rate={self.decay_rate} is outside (0, 1]')

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the wrapped optimizer of ``model``, whose ``backbone`` is a ViT of this package."""
        model = unwrap_model(model)
        norms = {id(p) for m in model.modules() if is_norm(m) for p in m.parameters(recurse=False)}
        groups: dict[tuple[int, float], list[nn.Parameter]] = {}
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                depth, num_depths = model.backbone.get_layer_depth(name, 'backbone.')
                distance = num_depths - 1 - depth if self.decay_rate < 1 else 0
                kind = name.rsplit('.', 1)[-1]
                if id(parameter) in norms or kind in _FREE:
                    factor = 0.0
                elif kind.endswith('bias'):  # q_bias, v_bias too
                    factor = self.bias_decay_mult
                else:
                    factor = float(parameter.ndim > 1)
                groups.setdefault((distance, factor), []).append(parameter)
        lr = self.optimizer_cfg['lr']
        config = [
            dict(
                params=params,
                lr=lr * self.decay_rate**distance,
                **({} if factor == 1 else dict(weight_decay=factor * (self.base_wd or 0.0))),
            )
            for (distance, factor), params in sorted(
                groups.items(), key=lambda item: (item[0][0], -item[0][1])
            )
        ]
        optimizer = make_optimizer(self.optimizer_cfg, config)
        wrapper = OPTIM_WRAPPERS.build(
            {'type': 'OptimWrapper', **self.optim_wrapper_cfg},
            default_args=dict(optimizer=optimizer),
        )
        # mmengine would log a `base_lr` that scaling by the batch size leaves out.
        wrapper.base_param_settings = None
        return wrapper
