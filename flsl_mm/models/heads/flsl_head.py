"""Projection to prototypes, and the three losses of FLSL."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.dist import all_gather, get_rank, get_world_size
from mmengine.model import BaseModule
from mmengine.model.weight_init import trunc_normal_
from mmpretrain.registry import MODELS
from torch import Tensor, nn

LOSSES = ('intra', 'inter', 'volume')
TEACHER_NORMS = (None, 'sinkhorn', 'centering')


@MODELS.register_module()
class FLSLHead(BaseModule):
    """DINO-like projection head with the FLSL objective (paper, Eq. 8, 11 and 13).

    ``num_layers`` linear layers with GELU between them, L2 normalisation, and a linear layer
    without bias whose rows (the prototypes) have unit norm, so logits are cosines. Student and
    teacher each have one; the student's computes the loss.

    Args:
        in_channels: Token width D.
        num_prototypes: Number K of prototypes, the paper's "centroids" (Table 6).
        hidden_channels: Width of the hidden layers.
        bottleneck_channels: Width of the last layer before the prototypes.
        num_layers: Linear layers before the prototypes.
        student_temp: Temperature t_s of the student's prediction.
        teacher_temp: Temperature t_t of the teacher's prediction; a schedule may change it.
        loss_weights: Weights of ``intra``, ``inter`` and ``volume``; a schedule may change them.
            Those left out keep the paper's 0.03, 1.0 and 5.0.
        teacher_norm: ``None``; ``'sinkhorn'``: the teacher's predictions are also normalised along
            the global batch (Section 5.6); ``'centering'``: a running mean of the teacher's logits
            is taken off first, as in DINO.
        center_momentum: Momentum of that running mean.
        prior: Prior over the prototypes, K positive numbers (normalised here); ``None`` is the
            uniform prior of the paper.
        init_cfg: mmengine initialisation.

    Raises:
        ValueError: A value is out of range or unknown; the message names it.
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
        loss_weights: dict[str, float] | None = None,
        teacher_norm: str | None = None,
        center_momentum: float = 0.9,
        prior: Sequence[float] | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        loss_weights = dict(loss_weights or {})
        if unknown := set(loss_weights) - set(LOSSES):
            raise ValueError(f'FLSLHead: unknown loss_weights {sorted(unknown)}, known: {LOSSES}')
        if min(student_temp, teacher_temp) <= 0:
            raise ValueError(
                f'FLSLHead: temperatures must be positive, got student_temp={student_temp}, '
                f'teacher_temp={teacher_temp}'
            )
        if teacher_norm not in TEACHER_NORMS:
            raise ValueError(f'FLSLHead: teacher_norm={teacher_norm!r} is none of {TEACHER_NORMS}')
        self.student_temp = student_temp
        self.teacher_temp = teacher_temp
        self.loss_weights = {**dict(intra=0.03, inter=1.0, volume=5.0), **loss_weights}
        self.teacher_norm = teacher_norm
        self.center_momentum = center_momentum

        widths = [in_channels] + [hidden_channels] * (num_layers - 1) + [bottleneck_channels]
        layers: list[nn.Module] = []
        for i in range(num_layers):
            layers += [nn.Linear(widths[i], widths[i + 1]), nn.GELU()]
        self.mlp = nn.Sequential(*layers[:-1])
        self.prototypes = nn.Linear(bottleneck_channels, num_prototypes, bias=False)
        self.register_buffer('log_prior', _log_prior(prior, num_prototypes), persistent=False)
        if teacher_norm == 'centering':
            self.register_buffer('center', torch.zeros(num_prototypes))

    def init_weights(self) -> None:
        """Initialise as DINO does: normal weights of std 0.02, zero biases."""
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        super().init_weights()

    def forward(self, x: Tensor) -> Tensor:
        """Cosines with the prototypes: (M, D) to (M, K), in [-1, 1]."""
        x = F.normalize(self.mlp(x), dim=-1)
        return F.linear(x, F.normalize(self.prototypes.weight, dim=-1))

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
            part of the objective: ``cos_token_mode``, mean cosine of token and mode;
            ``prototypes_used``, how many prototypes are some query's first choice by the teacher;
            ``entropy_p_bar`` in nats, at most log K; ``max_p_t``, mean confidence of the teacher.
        """
        with torch.autocast(queries.device.type, enabled=False):
            queries, modes, student_logits, teacher_logits = (
                x if x.dtype == torch.float64 else x.float()
                for x in (queries, modes, student_logits, teacher_logits)
            )
            cosine = F.cosine_similarity(queries, modes, dim=-1)  # (M,)
            log_p_s = F.log_softmax(student_logits / self.student_temp, dim=-1)  # (M, K)
            p_t = self.teacher_predictions(teacher_logits)  # (M, K)
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
        with torch.no_grad():
            first = p_t.argmax(dim=-1)
            losses.update(
                cos_token_mode=cosine.mean(),
                prototypes_used=torch.zeros_like(p_bar).index_fill_(0, first, 1.0).sum(),
                entropy_p_bar=-(p_bar * log_p_bar).sum(),
                max_p_t=p_t.amax(dim=-1).mean(),
            )
        return losses

    @torch.no_grad()
    def teacher_predictions(self, logits: Tensor) -> Tensor:
        """Teacher's distribution over the prototypes (M, K) from its logits (M, K).

        With ``'sinkhorn'`` one normalisation along the batch, then one along the prototypes; with
        ``'centering'`` the running mean moves by this (global) batch when training.
        """
        if self.teacher_norm == 'centering':
            centered = logits - self.center.to(logits.dtype)
            if self.training:
                mean = torch.stack(all_gather(logits.mean(dim=0))).mean(dim=0)
                self.center.lerp_(mean.to(self.center.dtype), 1 - self.center_momentum)
            logits = centered
        logits = logits / self.teacher_temp
        if self.teacher_norm == 'sinkhorn':
            logits = logits - global_log_mean(logits)
        return logits.softmax(dim=-1)


def global_log_mean(log_values: Tensor) -> Tensor:
    """Log of the mean of ``exp(log_values)`` over the rows of all processes: (M, K) to (K,).

    Stays finite where the mean itself would underflow to zero. The gradient covers this process's
    rows only.
    """
    local = log_values.logsumexp(dim=0) - math.log(len(log_values))
    if get_world_size() == 1:
        return local
    gathered = all_gather(local.detach())
    gathered[get_rank()] = local
    return torch.stack(gathered).logsumexp(dim=0) - math.log(len(gathered))


def _log_prior(prior: Sequence[float] | None, num_prototypes: int) -> Tensor:
    values = torch.ones(num_prototypes) if prior is None else torch.as_tensor(prior)
    values = values.double()
    if values.shape != (num_prototypes,) or not bool((values > 0).all() & values.isfinite().all()):
        raise ValueError(
            f'FLSLHead: the prior needs {num_prototypes} positive finite numbers, one for each '
            f'prototype, got shape {tuple(values.shape)}'
        )
    return (values / values.sum()).log()
