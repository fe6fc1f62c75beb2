"""Feature-level Self-supervised Learning."""

import copy
from collections.abc import Sequence

import torch
from mmpretrain.models.selfsup import BaseSelfSupervisor
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from ..necks import ViewPair


@MODELS.register_module()
class FLSL(BaseSelfSupervisor):
    """FLSL: mean-shift inside a view, k-means between views (paper, Eq. 13 and Figure 2).

    Only wiring: the backbone encodes, the neck retrieves modes, the head has the objective. The
    teacher is a moving average of student backbone and head; ``TeacherUpdateHook`` calls
    :meth:`update_teacher` after every optimizer step.

    Args:
        backbone: Config of the student ViT; needs ``forward_tokens``.
        neck: Config of :class:`MeanShiftNeck`.
        head: Config of :class:`FLSLHead`.
        num_teacher_views: Number T of (teacher, student) pairs: 1, or 2 as in the paper's text.
        momentum: Share of the old teacher in an update, in [0, 1]; a schedule may change it.
        previous_teacher: Multi-stage option: config of a ViT with ``init_cfg`` naming an earlier
            run's checkpoint. Needs un-augmented views (``clean_views=True`` in the preprocessor).
        pretrained: Checkpoint of the whole model, as in mmpretrain.
        data_preprocessor: Config of :class:`MultiViewPreprocessor`.
        init_cfg: mmengine initialisation.

    Raises:
        ValueError: ``num_teacher_views`` or ``momentum`` is out of range, or ``previous_teacher``
            names no weights.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        head: dict,
        num_teacher_views: int = 1,
        momentum: float = 0.996,
        previous_teacher: dict | None = None,
        pretrained: str | None = None,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: dict | Sequence[dict] | None = None,
    ) -> None:
        super().__init__(
            backbone=backbone,
            neck=neck,
            head=head,
            pretrained=pretrained,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        if num_teacher_views not in (1, 2):
            raise ValueError(f'FLSL: num_teacher_views must be 1 or 2, got {num_teacher_views}')
        if not 0 <= momentum <= 1:
            raise ValueError(f'FLSL: momentum must be in [0, 1], got {momentum}')
        self.num_teacher_views = num_teacher_views
        self.momentum = momentum
        # A ModuleDict has no `init_weights`, so mmengine leaves the copies alone.
        self.teacher = nn.ModuleDict(
            dict(backbone=copy.deepcopy(self.backbone), head=copy.deepcopy(self.head))
        ).requires_grad_(False)
        self.previous_teacher = self._build_previous(previous_teacher)
        self._teacher_loaded = False
        self._register_load_state_dict_pre_hook(self.complete_state_dict)
        self.train(self.training)

    @staticmethod
    def _build_previous(config: dict | None) -> nn.Module | None:
        if config is None:
            return None
        if not config.get('init_cfg'):
            raise ValueError(
                'FLSL: previous_teacher needs the weights of an earlier run: give it '
                "init_cfg=dict(type='PretrainedViT', checkpoint=..., key='teacher')"
            )
        return MODELS.build(config).requires_grad_(False)

    def train(self, mode: bool = True) -> 'FLSL':
        """Switch the student's mode; teachers always stay in evaluation mode."""
        super().train(mode)
        self.teacher.eval()
        if self.previous_teacher is not None:
            self.previous_teacher.eval()
        return self

    def init_weights(self) -> None:
        """Initialise the student; the teacher starts equal to it unless a checkpoint has one."""
        if self._is_init:
            return
        self._teacher_loaded = False
        super().init_weights()
        if not self._teacher_loaded:
            self.update_teacher(momentum=0.0)

    def complete_state_dict(self, state_dict: dict, prefix: str = '', *_) -> None:
        """Give weights without a teacher their student as teacher; called before any loading.

        Args:
            state_dict: Changed in place.
            prefix: Of this model's keys.
        """
        if not any(key.startswith(f'{prefix}teacher.') for key in state_dict):
            for part in self.teacher:
                for key in [k for k in state_dict if k.startswith(f'{prefix}{part}.')]:
                    state_dict[f'{prefix}teacher.{key[len(prefix) :]}'] = state_dict[key]
        parts = {
            k[len(prefix) :].split('.')[1] for k in state_dict if k.startswith(f'{prefix}teacher.')
        }
        self._teacher_loaded |= parts == set(self.teacher)

    @torch.no_grad()
    def update_teacher(self, momentum: float | None = None) -> None:
        """Move the teacher: ``teacher = momentum * teacher + (1 - momentum) * student``.

        Args:
            momentum: Overrides the attribute; 0 copies the student.
        """
        momentum = self.momentum if momentum is None else momentum
        student = [p for part in self.teacher for p in getattr(self, part).parameters()]
        torch._foreach_lerp_(list(self.teacher.parameters()), student, 1 - momentum)

    def forward(
        self,
        inputs: Tensor | list[Tensor],
        data_samples: list[DataSample] | None = None,
        clean_inputs: list[Tensor] | None = None,
        mode: str = 'tensor',
    ) -> dict[str, Tensor] | tuple[Tensor, ...]:
        """Entry of mmengine: mode ``'loss'`` takes views, ``'tensor'`` images (B, 3, H, W)."""
        if mode == 'loss':
            return self.loss(inputs, data_samples, clean_inputs)
        return super().forward(inputs, data_samples, mode)

    def loss(
        self,
        inputs: list[Tensor],
        data_samples: list[DataSample] | None = None,
        clean_inputs: list[Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """The weighted losses of a batch and the health signs of training.

        Args:
            inputs: T teacher views, T student views, then any number of local views, each
                (B, 3, H, W), normalised. Student view i queries teacher view (i + 1) mod T: with
                two pairs, that of the other pair.
            data_samples: Used for ``view_boxes`` (V, 4) of each image (positional positives).
            clean_inputs: The same views without photometry (multi-stage option).

        Returns:
            dict[str, Tensor]: ``loss_intra``, ``loss_inter``, ``loss_volume``, whose sum is the
            objective, and the diagnostics of :meth:`FLSLHead.loss` and ``attended_tokens``.

        Raises:
            ValueError: Views or un-augmented views are missing.
        """
        count = self.num_teacher_views
        if len(inputs) < 2 * count:
            raise ValueError(
                f'FLSL: {count} teacher and {count} student views are needed, got {len(inputs)} '
                'views; `num_teacher_views` of model and data preprocessor must agree'
            )
        students = self.backbone.forward_tokens(inputs[count:])
        with torch.no_grad():
            teachers = self.teacher.backbone.forward_tokens(inputs[:count])
            previous = self._previous_tokens(clean_inputs)
        boxes = self._boxes(data_samples)

        pairs = []
        for i, tokens in enumerate(students):
            view, target = count + i, (i + 1) % count
            pairs.append(
                ViewPair(
                    kind='global' if i < count else 'local',
                    student=tokens,
                    student_grid=self.backbone.grid_of(inputs[view]),
                    teacher=teachers[target],
                    teacher_grid=self.backbone.grid_of(inputs[target]),
                    boxes=None if boxes is None else (boxes[:, view], boxes[:, target]),
                    previous=None if previous is None else (previous[view], previous[target]),
                )
            )
        clusters = self.neck(pairs)
        with torch.no_grad():
            teacher_logits = self.teacher.head(clusters.positives)
        losses = self.head.loss(
            clusters.queries, clusters.modes, self.head(clusters.modes), teacher_logits
        )
        losses['attended_tokens'] = clusters.attended_tokens
        return losses

    def _previous_tokens(self, clean_inputs: list[Tensor] | None) -> list[Tensor] | None:
        if self.previous_teacher is None:
            return None
        if clean_inputs is None:
            raise ValueError(
                'FLSL: previous_teacher needs un-augmented views: set clean_views=True in the '
                'data preprocessor'
            )
        return self.previous_teacher.forward_tokens(clean_inputs)

    def _boxes(self, data_samples: list[DataSample] | None) -> Tensor | None:
        """Crop boxes (B, V, 4) of all views, when they are needed."""
        if not self.neck.positional_positives or data_samples is None:
            return None
        device = next(self.backbone.parameters()).device
        return torch.stack([sample.view_boxes for sample in data_samples]).to(device)
