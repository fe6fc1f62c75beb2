"""Student and teacher, its moving average: what self-distillation methods have in common."""

import copy
from collections.abc import Callable, Sequence

import torch
from mmpretrain.models.selfsup import BaseSelfSupervisor
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from ...utils.devices import send
from ...utils.errors import ConfigError
from ...utils.images import check_statistics
from ..backbones.frozen_vit import FrozenViT
from ..layers.positions import draw_windows


class StudentTeacher(BaseSelfSupervisor):
    """A student ViT with a head, and a teacher that is their moving average.

    ``TeacherUpdateHook`` calls :meth:`update_teacher` after every optimizer step. State-dict
    prefixes are ``backbone.``, ``head.``, ``teacher.backbone.`` and ``teacher.head.``; weights
    without a teacher give it their student.

    Args:
        backbone: Config of the student ViT; needs ``forward_tokens``. Where it has a
            ``position_window``, each view of each image gets a random one in training.
        head: Config of the student's head; its ``in_channels`` may be left out.
        neck: Config of what comes between them; it has no weights, so there is one for both.
        num_teacher_views: How many of the views are the teacher's, T: 1 or 2.
        momentum: Share of the old teacher in an update, in [0, 1]; a schedule may change it.
        pretrained: Checkpoint of the whole model, as in mmpretrain.
        data_preprocessor: Config of :class:`MultiViewPreprocessor`; its ``mean`` and ``std`` are
            those that the backbone expects, unless they are given: then it expects these.
        init_cfg: mmengine initialization.

    Raises:
        ConfigError: ``num_teacher_views`` or ``momentum`` is out of range, or ``mean`` and ``std``
            are not of the backbone's channels.
    """

    def __init__(
        self,
        backbone: dict,
        head: dict,
        neck: dict | None = None,
        num_teacher_views: int = 1,
        momentum: float = 0.996,
        pretrained: str | None = None,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: dict | Sequence[dict] | None = None,
    ) -> None:
        if isinstance(backbone, dict):
            backbone = MODELS.build(backbone)
        if isinstance(head, dict) and isinstance(backbone, FrozenViT):
            head = {'in_channels': backbone.embed_dims, **head}
        if isinstance(data_preprocessor, dict) and isinstance(backbone, FrozenViT):
            pixels = dict(mean=backbone.mean, std=backbone.std)
            data_preprocessor = {**pixels, **data_preprocessor}
            backbone.mean, backbone.std = check_statistics(
                data_preprocessor['mean'], data_preprocessor['std'], backbone.in_channels
            )
        super().__init__(
            backbone=backbone,
            neck=neck,
            head=head,
            pretrained=pretrained,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        name = type(self).__name__
        if num_teacher_views not in (1, 2):
            raise ConfigError(f'{name}: num_teacher_views must be 1 or 2, got {num_teacher_views}')
        if not 0 <= momentum <= 1:
            raise ConfigError(f'{name}: momentum must be in [0, 1], got {momentum}')
        self.num_teacher_views = num_teacher_views
        self.momentum = momentum
        # A ModuleDict has no `init_weights`, so mmengine leaves the copies alone.
        self.teacher = nn.ModuleDict(
            dict(backbone=copy.deepcopy(self.backbone), head=copy.deepcopy(self.head))
        )
        self.teacher.requires_grad_(False).eval()
        # Of 'student' and 'teacher', what encodes their views in training in the place of
        # `forward_tokens`; evaluations, with images of other sizes, never meet it.
        self.compiled: dict[str, Callable] = {}
        self._teacher_loaded = False
        self._register_load_state_dict_pre_hook(self.complete_state_dict)

    def train(self, mode: bool = True) -> 'StudentTeacher':
        """Switch the student's mode; the teacher always stays in evaluation mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def init_weights(self) -> None:
        """Initialize the student; the teacher starts equal to it unless a checkpoint has one."""
        if self._is_init:
            return
        self._teacher_loaded = False
        super().init_weights()
        if not self._teacher_loaded:
            self.update_teacher(momentum=0.0)

    def complete_state_dict(self, state_dict: dict, prefix: str = '', *_) -> None:
        """Give weights without a teacher their student as teacher; called before any loading.

        An automatic scale that they lack stays what it is, and one that is not used is left out.

        Args:
            state_dict: Changed in place.
            prefix: Of this model's keys.
        """
        if not any(key.startswith(f'{prefix}teacher.') for key in state_dict):
            for part in self.teacher:
                for key in [k for k in state_dict if k.startswith(f'{prefix}{part}.')]:
                    state_dict[f'{prefix}teacher.{key[len(prefix) :]}'] = state_dict[key]
        # The scale that a neck found for itself is no weight: files have it or not.
        scale = f'{prefix}neck.auto_scale'
        own = getattr(self.neck, 'auto_scale', None) if self.with_neck else None
        if own is None:
            state_dict.pop(scale, None)
        else:
            state_dict.setdefault(scale, own.clone())
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

    def encode(
        self, inputs: Sequence[Tensor], places: Sequence[Tensor] | None = None, **kwargs
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Tokens of every view, each by its own network.

        Args:
            inputs: T teacher views, at least T student views, then any number of local student
                views, each (B, 3, H, W), normalized.
            places: Which tokens of each student view are encoded (B, K); None for all.
            kwargs: Of the backbones' ``forward_tokens``.

        Returns:
            tuple: Tokens (B, N, D), or (B, K, D), of each student view, and (B, N, D) of each
            teacher view, the latter without gradient.

        Raises:
            ConfigError: Views are missing.
        """
        count = self.num_teacher_views
        if len(inputs) < 2 * count:
            raise ConfigError(
                f'{type(self).__name__}: {count} teacher and {count} student views are needed, got '
                f'{len(inputs)} views; `num_teacher_views` of model and data preprocessor must '
                'agree'
            )
        drawn = self.draw_position_windows(inputs)
        windows = {} if drawn is None else dict(windows=drawn)
        with torch.no_grad():  # first, while no activations of the student take up memory
            encode = self.compiled.get('teacher', self.teacher.backbone.forward_tokens)
            teachers = encode(
                inputs[:count], **kwargs, **{k: v[:count] for k, v in windows.items()}
            )
        sparse = {} if places is None else dict(places=places)
        encode = self.compiled.get('student', self.backbone.forward_tokens)
        students = encode(
            inputs[count:],
            **kwargs,
            **sparse,
            **self._kept(inputs[count:], **sparse),
            **{k: v[count:] for k, v in windows.items()},
        )
        return students, teachers

    def _kept(self, views: Sequence[Tensor], **sparse) -> dict[str, Tensor | None]:
        """The argument ``kept`` of the student's ``forward_tokens``, where it has one."""
        if not hasattr(self.backbone, 'draw_depth'):
            return {}
        kept = self.backbone.draw_depth(views, **sparse)
        if kept is not None and 'student' in self.compiled:  # which masks, with static shapes
            kept = send(kept, views[0].device)
        return dict(kept=kept)

    def draw_position_windows(self, inputs: Sequence[Tensor]) -> list[Tensor] | None:
        """Where each image of each view (B, 4) reads its positions, see :func:`.draw_windows`.

        None where the network reads them as they are: always but in training with
        ``position_window``.
        """
        sides = getattr(self.backbone, 'position_window', None)
        if sides is None or not self.training:
            return None
        return [send(draw_windows(len(view), sides), view.device) for view in inputs]
