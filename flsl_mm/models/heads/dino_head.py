"""DINO's loss over prototypes."""

import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from torch import Tensor

from .prototype_head import PrototypeHead, at_least_float32, global_log_mean, health_signs


@MODELS.register_module()
class DINOHead(PrototypeHead):
    """Projection head with DINO's objective (Caron et al., 2021, Eq. 1-3 and Algorithm 1).

    Args:
        in_channels: Width D of the embeddings.
        num_prototypes: Output dimension K.
        kwargs: See :class:`PrototypeHead`.

    Raises:
        ConfigError: A value is out of range; the message names it.
    """

    def __init__(self, in_channels: int, num_prototypes: int = 65536, **kwargs) -> None:
        super().__init__(in_channels, num_prototypes, has_center=True, **kwargs)

    def loss(self, student_logits: Tensor, teacher_logits: Tensor) -> dict[str, Tensor]:
        """Cross-entropy of every student view with every teacher view of the same image.

        Computed in float32 at least, whatever the dtype of the activations. The mean over all
        pairs of views is that of the views' means, for cross-entropy is linear in the teacher's
        prediction and in the student's logarithm.

        Args:
            student_logits: Student head of S views (S, B, K).
            teacher_logits: Teacher head of T other views (T, B, K), without gradient.

        Returns:
            dict[str, Tensor]: ``loss_dino``, and, not part of the objective, the
            :func:`health_signs`.
        """
        with torch.autocast(student_logits.device.type, enabled=False):
            student_logits, teacher_logits = map(at_least_float32, (student_logits, teacher_logits))
            log_p_s = F.log_softmax(student_logits / self.student_temp, dim=-1)  # (S, B, K)
            p_t = self.teacher_predictions(teacher_logits)  # (T, B, K)
            loss = -(p_t.mean(dim=0) * log_p_s.mean(dim=0)).sum(dim=-1).mean()
            log_p_bar = global_log_mean(log_p_s.detach().flatten(0, 1))  # (K,)
        return dict(loss_dino=loss, **health_signs(p_t.flatten(0, 1), log_p_bar))

    @torch.no_grad()
    def teacher_predictions(self, logits: Tensor) -> Tensor:
        """Teacher's sharpened, centered distributions (T, B, K) from its logits (T, B, K).

        In training the center then moves by this (global) batch.
        """
        centered = self.center_logits(logits.flatten(0, 1)).view_as(logits)
        return (centered / self.teacher_temp).softmax(dim=-1)
