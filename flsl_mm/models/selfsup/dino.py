"""DINO, the baseline that differs from FLSL in the objective alone."""

import torch
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor

from ...utils.errors import ConfigError
from ..place import mean_place_share
from .student_teacher import StudentTeacher


@MODELS.register_module()
class DINO(StudentTeacher):
    """Self-distillation of whole views (Caron et al., 2021, Eq. 1-3 and Algorithm 1).

    For a comparison with FLSL everything but the objective is FLSL's: network, views, teacher,
    schedules. The embedding of a view is its class token where the backbone has one
    (:class:`ClassTokenViT`, as published), else the mean of its tokens. One thing differs from the
    published DINO:

    - No view is both the teacher's and the student's (student views are crops of the teacher's),
      so the loss is over all pairs of a teacher and a student view.

    Args:
        backbone: Config of the student ViT; needs ``forward_tokens``.
        head: Config of :class:`DINOHead`.
        neck: None; there so that a config can inherit FLSL's and take its neck away.
        kwargs: See :class:`StudentTeacher`.

    Raises:
        ConfigError: A value is out of range, or there is a neck.
    """

    def __init__(self, backbone: dict, head: dict, neck: None = None, **kwargs) -> None:
        if neck is not None:
            raise ConfigError('DINO averages the tokens of a view: it takes no neck (neck=None)')
        super().__init__(backbone=backbone, head=head, **kwargs)

    def loss(
        self, inputs: list[Tensor], data_samples: list[DataSample] | None = None
    ) -> dict[str, Tensor]:
        """The loss of a batch and the health signs of training.

        Args:
            inputs: T teacher views, then the student's, each (B, 3, H, W), normalized.
            data_samples: Not used.

        Returns:
            dict[str, Tensor]: ``loss_dino``, the diagnostics of :meth:`DINOHead.loss`, and
            ``place_share`` (:func:`.place_share` of the teacher's tokens).

        Raises:
            ConfigError: Views are missing.
        """
        has_class = self.backbone.num_prefix_tokens > 0
        students, teachers = self.encode(inputs, with_prefix=has_class)
        student, teacher = (  # (S, B, D) and (T, B, D)
            torch.stack([tokens[:, 0] if has_class else tokens.mean(dim=1) for tokens in views])
            for views in (students, teachers)
        )
        with torch.no_grad():
            teacher_logits = self.teacher.head(teacher)
        losses = self.head.loss(self.head(student), teacher_logits)
        prefix = self.backbone.num_prefix_tokens
        losses['place_share'] = mean_place_share([tokens[:, prefix:] for tokens in teachers])
        return losses
