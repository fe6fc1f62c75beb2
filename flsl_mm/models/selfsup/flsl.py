"""Feature-level Self-supervised Learning."""

from inspect import signature

import torch
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from ...utils.devices import send
from ...utils.errors import ConfigError
from ..necks import ViewPair
from ..place import mean_place_share
from .student_teacher import StudentTeacher


@MODELS.register_module()
class FLSL(StudentTeacher):
    """FLSL: mean-shift inside a view, k-means between views (paper, Eq. 13 and Figure 2).

    Only wiring: the backbone encodes, the neck retrieves modes, the head has the objective.

    Args:
        backbone: Config of the student ViT; needs ``forward_tokens``.
        neck: Config of :class:`MeanShiftNeck`.
        head: Config of :class:`FLSLHead`.
        previous_teacher: Multi-stage option: config of a ViT with ``init_cfg`` naming an earlier
            run's checkpoint. Needs un-augmented views (``clean_views=True`` in the preprocessor).
        student_keep: Share of each student view's tokens that are encoded, in (0, 1]: whole query
            windows, drawn for each image anew. The rest takes no part: queries are among the kept
            tokens, and keys of their modes are the kept ones. The teacher encodes everything. 1,
            all of them, is the paper.
        kwargs: See :class:`StudentTeacher`; ``num_teacher_views`` is the number of (teacher,
            student) pairs: 1, or 2 as in the paper's text.

    Raises:
        ConfigError: A value is out of range, ``previous_teacher`` names no weights, or the backbone
            cannot encode a share of the tokens.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        head: dict,
        previous_teacher: dict | None = None,
        student_keep: float = 1.0,
        **kwargs,
    ) -> None:
        super().__init__(backbone=backbone, neck=neck, head=head, **kwargs)
        if not 0 < student_keep <= 1:
            raise ConfigError(f'FLSL: student_keep must be in (0, 1], got {student_keep}')
        if student_keep < 1 and 'places' not in signature(self.backbone.forward_tokens).parameters:
            raise ConfigError(
                f'FLSL: student_keep={student_keep}, but {type(self.backbone).__name__} encodes '
                'all tokens of a view: student_keep=1.0'
            )
        self.student_keep = student_keep
        self.previous_teacher = self._build_previous(previous_teacher)

    @staticmethod
    def _build_previous(config: dict | None) -> nn.Module | None:
        if config is None:
            return None
        if not config.get('init_cfg'):
            raise ConfigError(
                'FLSL: previous_teacher needs the weights of an earlier run: give it '
                "init_cfg=dict(type='PretrainedViT', checkpoint=..., key='teacher')"
            )
        return MODELS.build(config).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> 'FLSL':
        """Switch the student's mode; teachers always stay in evaluation mode."""
        super().train(mode)
        if self.previous_teacher is not None:
            self.previous_teacher.eval()
        return self

    def forward(
        self,
        inputs: Tensor | list[Tensor],
        data_samples: list[DataSample] | None = None,
        mode: str = 'tensor',
        clean_inputs: list[Tensor] | None = None,
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
                (B, 3, H, W), normalized. Student view i queries teacher view (i + 1) mod T: with
                two pairs, that of the other pair.
            data_samples: Used for ``view_boxes`` (V, 4) of each image (positional positives, prior
                of place, ``matching_accuracy``).
            clean_inputs: The same views without photometry (multi-stage option).

        Returns:
            dict[str, Tensor]: ``loss_intra``, ``loss_inter``, ``loss_volume``, whose sum is the
            objective, and the diagnostics of :meth:`FLSLHead.loss`, ``attended_tokens``,
            ``place_share`` (:func:`.place_share` of the teacher's tokens), with crop boxes
            ``matching_accuracy``, and ``self_scale`` where it finds itself.

        Raises:
            ConfigError: Views or un-augmented views are missing.
        """
        with torch.no_grad():
            previous = self._previous_tokens(clean_inputs)
        places = self.draw_places(inputs)
        students, teachers = self.encode(inputs, places)
        pairs = self.pair(inputs, students, teachers, data_samples, previous, places)
        clusters = self.neck(pairs)
        with torch.no_grad():
            teacher_logits = self.teacher.head(clusters.positives)
        losses = self.head.loss(
            clusters.queries, clusters.modes, self.head(clusters.modes), teacher_logits
        )
        losses['attended_tokens'] = clusters.attended_tokens
        losses['place_share'] = mean_place_share(teachers)
        if clusters.matching_accuracy is not None:
            losses['matching_accuracy'] = clusters.matching_accuracy
        if self.neck.auto_scale is not None:
            losses['self_scale'] = (self.neck.auto_scale[0] / self.neck.auto_scale[1]).exp()
        return losses

    def pair(
        self,
        inputs: list[Tensor],
        students: list[Tensor],
        teachers: list[Tensor],
        data_samples: list[DataSample] | None = None,
        previous: list[Tensor] | None = None,
        places: list[Tensor] | None = None,
    ) -> list[ViewPair]:
        """Each student view with the teacher view that its queries look into.

        Args:
            inputs: Views and their order, as for :meth:`loss`.
            students: Tokens (B, N, D), or the kept ones (B, K, D), of each student view.
            teachers: Tokens of each teacher view.
            data_samples: As for :meth:`loss`.
            previous: Tokens of every view by the earlier teacher (multi-stage option).
            places: What :meth:`draw_places` gave.

        Returns:
            list[ViewPair]: One for each student view.
        """
        count = self.num_teacher_views
        boxes = self._boxes(data_samples)
        pairs = []
        for i, tokens in enumerate(students):
            view, target = count + i, (i + 1) % count
            pairs.append(
                ViewPair(
                    kind=self._kind(i),
                    student=tokens,
                    student_grid=self.backbone.grid_of(inputs[view]),
                    teacher=teachers[target],
                    teacher_grid=self.backbone.grid_of(inputs[target]),
                    boxes=None if boxes is None else (boxes[:, view], boxes[:, target]),
                    previous=None if previous is None else (previous[view], previous[target]),
                    places=None if places is None else places[i],
                )
            )
        return pairs

    def draw_places(self, inputs: list[Tensor]) -> list[Tensor] | None:
        """Which tokens of each student view are encoded.

        Args:
            inputs: Views and their order, as for :meth:`loss`.

        Returns:
            list[Tensor] | None: (B, K) of each student view, drawn by
            :meth:`MeanShiftNeck.draw_places`; None where all of them are.
        """
        if self.student_keep == 1:
            return None
        grid_of, keep = self.backbone.grid_of, self.student_keep
        return [
            send(self.neck.draw_places(self._kind(i), grid_of(view), len(view), keep), view.device)
            for i, view in enumerate(inputs[self.num_teacher_views :])
        ]

    def _kind(self, student_view: int) -> str:
        """Which window size a student view has."""
        return 'global' if student_view < self.num_teacher_views else 'local'

    def _previous_tokens(self, clean_inputs: list[Tensor] | None) -> list[Tensor] | None:
        if self.previous_teacher is None:
            return None
        if clean_inputs is None:
            raise ConfigError(
                'FLSL: previous_teacher needs un-augmented views: set clean_views=True in the '
                'data preprocessor'
            )
        return self.previous_teacher.forward_tokens(clean_inputs)

    def _boxes(self, data_samples: list[DataSample] | None) -> Tensor | None:
        """Crop boxes (B, V, 4) of all views, when they are there."""
        if not data_samples or not all('view_boxes' in sample for sample in data_samples):
            return None
        device = next(self.backbone.parameters()).device
        return send(torch.stack([sample.view_boxes for sample in data_samples]), device)
