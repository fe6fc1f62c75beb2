"""Projection to prototypes, and what every objective over them needs."""

import math

import torch
import torch.nn.functional as F
from mmengine.dist import all_gather, get_rank, get_world_size
from mmengine.model import BaseModule
from mmengine.model.weight_init import trunc_normal_
from torch import Tensor, nn

from ...utils.errors import ConfigError


class PrototypeHead(BaseModule):
    """DINO's projection head; an objective is added by a subclass.

    ``num_layers`` linear layers with GELU between them, L2 normalization, and a linear layer
    without bias whose rows (the prototypes) have unit norm, so logits are cosines. Student and
    teacher each have one; the student's computes the loss.

    Args:
        in_channels: Width D of the embeddings.
        num_prototypes: Number K of prototypes; DINO's "output dimension".
        hidden_channels: Width of the hidden layers.
        bottleneck_channels: Width of the last layer before the prototypes.
        num_layers: Linear layers before the prototypes.
        student_temp: Temperature t_s of the student's prediction.
        teacher_temp: Temperature t_t of the teacher's prediction; a schedule may change it.
        center_momentum: Share of the old center when the running mean of the teacher's logits
            moves.
        has_center: Whether there is such a mean.
        init_cfg: mmengine initialization.

    Attributes:
        self_scale: For evaluation: factor of the logits that led to the modes in training, None
            where it is not known.

    Raises:
        ConfigError: A value is out of range; the message names it.
    """

    self_scale: float | None = None

    def __init__(
        self,
        in_channels: int,
        num_prototypes: int,
        hidden_channels: int = 2048,
        bottleneck_channels: int = 256,
        num_layers: int = 3,
        student_temp: float = 0.1,
        teacher_temp: float = 0.04,
        center_momentum: float = 0.9,
        has_center: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        name = type(self).__name__
        if min(student_temp, teacher_temp) <= 0:
            raise ConfigError(
                f'{name}: temperatures must be positive, got student_temp={student_temp}, '
                f'teacher_temp={teacher_temp}'
            )
        if not 0 <= center_momentum < 1:
            raise ConfigError(f'{name}: center_momentum must be in [0, 1), got {center_momentum}')
        if min(num_prototypes, num_layers) < 1:
            raise ConfigError(
                f'{name}: num_prototypes and num_layers must be at least 1, got {num_prototypes} '
                f'and {num_layers}'
            )
        self.student_temp = student_temp
        self.teacher_temp = teacher_temp
        self.center_momentum = center_momentum

        widths = [in_channels] + [hidden_channels] * (num_layers - 1) + [bottleneck_channels]
        layers: list[nn.Module] = []
        for i in range(num_layers):
            layers += [nn.Linear(widths[i], widths[i + 1]), nn.GELU()]
        self.mlp = nn.Sequential(*layers[:-1])
        self.prototypes = nn.Linear(bottleneck_channels, num_prototypes, bias=False)
        if has_center:
            self.register_buffer('center', torch.zeros(num_prototypes))

    def init_weights(self) -> None:
        """Initialize as DINO does: normal weights of std 0.02, zero biases."""
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        super().init_weights()

    def forward(self, x: Tensor) -> Tensor:
        """Cosines with the prototypes: (..., D) to (..., K), in [-1, 1]."""
        x = F.normalize(self.mlp(x), dim=-1)
        return F.linear(x, F.normalize(self.prototypes.weight, dim=-1))

    @torch.no_grad()
    def center_logits(self, logits: Tensor) -> Tensor:
        """Teacher's logits (M, K) less their running mean, which then moves when training.

        It moves by the mean of this batch over all processes (as many rows on each).
        """
        centered = logits - self.center.to(logits.dtype)
        if self.training:
            mean = torch.stack(all_gather(logits.mean(dim=0))).mean(dim=0)
            self.center.lerp_(mean.to(self.center.dtype), 1 - self.center_momentum)
        return centered


def at_least_float32(x: Tensor) -> Tensor:
    """``x`` in float32, or in float64 if it is."""
    return x if x.dtype == torch.float64 else x.float()


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


@torch.no_grad()
def health_signs(p_t: Tensor, log_p_bar: Tensor) -> dict[str, Tensor]:
    """What shows a collapse in the log; no name of it contains "loss".

    Args:
        p_t: Teacher's predictions (M, K).
        log_p_bar: Log of the student's mean prediction (K,) over all processes.

    Returns:
        dict[str, Tensor]: ``prototypes_used``, how many prototypes are some prediction's first
        choice; ``entropy_p_bar`` in nats, at most log K; ``max_p_t``, the teacher's mean
        confidence.
    """
    log_p_bar = log_p_bar.detach()
    first = p_t.argmax(dim=-1)
    return dict(
        prototypes_used=torch.zeros_like(log_p_bar).index_fill_(0, first, 1.0).sum(),
        entropy_p_bar=-(log_p_bar.exp() * log_p_bar).sum(),
        max_p_t=p_t.amax(dim=-1).mean(),
    )
