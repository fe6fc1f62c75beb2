"""Projection to prototypes, and the three losses of FLSL."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from mmengine.dist import get_world_size
from mmpretrain.registry import MODELS
from torch import Tensor

from ...utils.errors import ConfigError
from .prototype_head import PrototypeHead, at_least_float32, global_log_mean, health_signs

LOSS_WEIGHTS = dict(intra=0.03, inter=1.0, volume=5.0)  # of the paper, Table 5
TEACHER_NORMS = (None, 'sinkhorn', 'centering')


@MODELS.register_module()
class FLSLHead(PrototypeHead):
    """DINO-like projection head with the FLSL objective (paper, Eq. 8, 11 and 13).

    Args:
        in_channels: Token width D.
        num_prototypes: Number K of prototypes, the paper's "centroids" (Table 6).
        hidden_channels: Width of the projection's hidden layers.
        bottleneck_channels: Width of its last layer before the prototypes.
        num_layers: Its linear layers before the prototypes.
        student_temp: Temperature t_s of the student's prediction.
        teacher_temp: Temperature t_t of the teacher's prediction; a schedule may change it.
        loss_weights: Weights of ``intra``, ``inter`` and ``volume``; a schedule may change them.
            Those left out keep the paper's.
        teacher_norm: ``None``; ``'sinkhorn'``: the teacher's predictions are also normalized along
            the global batch (Section 5.6); ``'centering'``: a running mean of the teacher's logits
            is taken off first, as in DINO.
        prior: Prior over the prototypes, K positive numbers (normalized here); ``None`` is the
            uniform prior of the paper.
        center_momentum: With ``'centering'``, share of the old mean when it moves.
        init_cfg: mmengine initialization.

    Raises:
        ConfigError: A value is out of range or unknown; the message names it.
    """

    def __init__(
        self,
        in_channels: int,
        num_prototypes: int = 4096,
        hidden_channels: int = 2048,
        bottleneck_channels: int = 256,
        num_layers: int = 3,
        student_temp: float = 0.1,
        teacher_temp: float = 0.04,
        loss_weights: Mapping[str, float] | None = LOSS_WEIGHTS,
        teacher_norm: str | None = None,
        prior: Sequence[float] | None = None,
        center_momentum: float = 0.9,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(
            in_channels,
            num_prototypes,
            hidden_channels=hidden_channels,
            bottleneck_channels=bottleneck_channels,
            num_layers=num_layers,
            student_temp=student_temp,
            teacher_temp=teacher_temp,
            center_momentum=center_momentum,
            has_center=teacher_norm == 'centering',
            init_cfg=init_cfg,
        )
        loss_weights = loss_weights or {}
        if unknown := set(loss_weights) - set(LOSS_WEIGHTS):
            raise ConfigError(
                f'FLSLHead: unknown loss_weights {sorted(unknown)}, known: {list(LOSS_WEIGHTS)}'
            )
        if teacher_norm not in TEACHER_NORMS:
            raise ConfigError(f'FLSLHead: teacher_norm={teacher_norm!r} is none of {TEACHER_NORMS}')
        self.loss_weights = {**LOSS_WEIGHTS, **loss_weights}
        self.teacher_norm = teacher_norm
        self.register_buffer('log_prior', _log_prior(prior, num_prototypes), persistent=False)

    def loss(
        self, queries: Tensor, modes: Tensor, student_logits: Tensor, teacher_logits: Tensor
    ) -> dict[str, Tensor]:
        """The FLSL objective (Eq. 13) and the health signs of training.

        Computed in float32 at least, whatever the dtype of the activations. Means run over the M
        queries of this process, except the mean prediction of the volume term, which runs over
        those of all processes (as many on each).

        Args:
            queries: Tokens z (M, D).
            modes: Their modes m (M, D).
            student_logits: Student head of ``modes`` (M, K).
            teacher_logits: Teacher head of the positives (M, K), without gradient.

        Returns:
            dict[str, Tensor]: Weighted ``loss_intra``, ``loss_inter`` and ``loss_volume``, and, not
            part of the objective: ``cos_token_mode``, mean cosine of token and mode, and the
            :func:`health_signs`.
        """
        with torch.autocast(queries.device.type, enabled=False):
            queries, modes = map(at_least_float32, (queries, modes))
            cosine = F.cosine_similarity(queries, modes, dim=-1)  # (M,)
            # The (M, K) matrices are large: none but these two has a name, and so outlives its use.
            p_t = self.teacher_predictions(at_least_float32(teacher_logits))
            log_p_s = F.log_softmax(at_least_float32(student_logits) / self.student_temp, dim=-1)
            log_p_bar = global_log_mean(log_p_s)  # (K,)
            p_bar = log_p_bar.exp()
            volume = (p_bar * (log_p_bar - self.log_prior.to(log_p_bar.dtype))).sum()
            terms = dict(
                intra=(2 - 2 * cosine).mean(),
                inter=-(p_t * log_p_s).sum(dim=-1).mean(),
                # Each process differentiates only its own share of p_bar; averaging the gradients
                # over processes divides by their number once too often.
                volume=volume.detach() + get_world_size() * (volume - volume.detach()),
            )
        losses = {f'loss_{name}': self.loss_weights[name] * value for name, value in terms.items()}
        losses['cos_token_mode'] = cosine.detach().mean()
        losses.update(health_signs(p_t, log_p_bar))
        return losses

    @torch.no_grad()
    def teacher_predictions(self, logits: Tensor) -> Tensor:
        """Teacher's distribution over the prototypes (M, K) from its logits (M, K).

        With ``'sinkhorn'`` one normalization along the batch, then one along the prototypes; with
        ``'centering'`` the running mean moves by this (global) batch when training.
        """
        if self.teacher_norm == 'centering':
            logits = self.center_logits(logits)
        logits = logits / self.teacher_temp
        if self.teacher_norm == 'sinkhorn':
            logits = logits - global_log_mean(logits)
        return logits.softmax(dim=-1)


def _log_prior(prior: Sequence[float] | None, num_prototypes: int) -> Tensor:
    values = torch.ones(num_prototypes) if prior is None else torch.as_tensor(prior)
    values = values.double()
    if values.shape != (num_prototypes,) or not bool((values > 0).all() & values.isfinite().all()):
        raise ConfigError(
            f'FLSLHead: the prior needs {num_prototypes} positive finite numbers, one for each '
            f'prototype, got shape {tuple(values.shape)}'
        )
    return (values / values.sum()).log()
