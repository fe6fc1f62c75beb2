"""The pretraining step in the plain form: the baseline of ``benchmark_pretrain.py``.

Same losses and updates as the project's step, written as the method's text and common
self-supervised code have it: one backbone pass per view size, attention matrices in memory,
``softmax().log()``, and a Python loop over the parameters for clipping and for the teacher. What a
config may switch on (Sinkhorn, centering, positional positives, an earlier teacher) and which views
meet is the project's own code.
"""

import math
from collections.abc import Sequence
from itertools import groupby

import torch
import torch.nn.functional as F
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from flsl_mm.models import FLSL
from flsl_mm.models.necks import ViewPair
from flsl_mm.models.necks.queries import gather_tokens, window_queries


def plain_attention(
    query: Tensor, key: Tensor, value: Tensor, dropout_p: float = 0.0, **kwargs
) -> Tensor:
    """``scaled_dot_product_attention`` with the N x N matrix in memory."""
    logits = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    return logits.softmax(dim=-1) @ value


def use_plain_attention(backbone: nn.Module) -> None:
    """Let every block of an mmpretrain ViT hold its attention matrices in memory."""
    for layer in backbone.layers:
        layer.attn.scaled_dot_product_attention = plain_attention


class PlainStep:
    """One pretraining step of an :class:`FLSL` model, plainly.

    Args:
        model: Trained in place.
        lr: Learning rate of AdamW.
        weight_decay: That of all parameters but biases and norms.
        max_norm: Bound of the norm of each gradient.
    """

    def __init__(self, model: FLSL, lr: float, weight_decay: float, max_norm: float) -> None:
        self.model = model
        self.max_norm = max_norm
        for backbone in (model.backbone, model.teacher.backbone, model.previous_teacher):
            if backbone is not None:
                backbone.out_type = 'raw'
                use_plain_attention(backbone)
        trained = [p for p in model.parameters() if p.requires_grad]
        groups = [
            dict(params=[p for p in trained if p.ndim > 1]),
            dict(params=[p for p in trained if p.ndim <= 1], weight_decay=0.0),
        ]
        self.optimizer = torch.optim.AdamW(groups, lr, weight_decay=weight_decay, foreach=False)

    def __call__(
        self,
        views: Sequence[Tensor],
        dtype: torch.dtype = torch.float32,
        samples: list[DataSample] | None = None,
        clean: Sequence[Tensor] | None = None,
    ) -> float:
        """Train on one batch and return its loss.

        Args:
            views: As for :meth:`FLSL.loss`.
            dtype: bfloat16 runs under autocast.
            samples: For positional positives, as for :meth:`FLSL.loss`.
            clean: For the multi-stage option, as for :meth:`FLSL.loss`.
        """
        device = views[0].device.type
        with torch.autocast(device, dtype, enabled=dtype == torch.bfloat16):
            loss = self.loss(views, samples, clean)
        if not math.isfinite(loss.item()):
            raise RuntimeError('the loss is not finite')
        self.optimizer.zero_grad()
        loss.backward()
        self.clip_gradients()
        self.optimizer.step()
        self.update_teacher()
        return loss.item()

    def loss(
        self,
        views: Sequence[Tensor],
        samples: list[DataSample] | None = None,
        clean: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """The objective (paper, Eq. 13) of the views."""
        model, count = self.model, self.model.num_teacher_views
        with torch.no_grad():
            teachers = encode(model.teacher.backbone, views[:count])
            earlier = encode(model.previous_teacher, clean) if model.previous_teacher else None
        students = encode(model.backbone, views[count:])
        queries, modes, positives = [], [], []
        for pair in model.pair(views, students, teachers, samples, earlier):
            found = self.cluster(pair)
            for values, value in zip((queries, modes, positives), found):
                values.append(value.flatten(0, 1))
        queries, modes, positives = (torch.cat(x) for x in (queries, modes, positives))
        with torch.no_grad():
            p_t = model.head.teacher_predictions(upcast(model.teacher.head(positives)))
        p_s = (upcast(model.head(modes)) / model.head.student_temp).softmax(dim=-1)
        difference = F.normalize(upcast(queries), dim=-1) - F.normalize(upcast(modes), dim=-1)
        p_bar = p_s.mean(dim=0)
        weights = model.head.loss_weights
        return (
            weights['intra'] * difference.pow(2).sum(dim=-1).mean()
            - weights['inter'] * (p_t * p_s.log()).sum(dim=-1).mean()
            + weights['volume'] * (p_bar * (p_bar.log() - model.head.log_prior)).sum()
        )

    def cluster(self, pair: ViewPair) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, modes and positives (B, Q, D) of one student view."""
        neck, tokens = self.model.neck, pair.student
        window = neck.window_sizes[pair.kind]
        indices = window_queries(pair.student_grid, window, len(tokens), neck.random_queries)
        indices = indices.to(tokens.device)
        z = gather_tokens(tokens, indices)
        with torch.no_grad():
            by_place = neck.positional_positives or neck.place_width < math.inf
            if by_place or pair.previous is not None:
                positives = neck.positives(pair, indices, z)
            else:
                positives = retrieve(z, pair.teacher, neck.cross_scale)
        return z, retrieve(z, tokens, neck.self_scale), positives

    @torch.no_grad()
    def clip_gradients(self) -> None:
        """Scale each gradient to a norm of at most ``max_norm``."""
        for parameter in self.model.parameters():
            if parameter.grad is not None:
                factor = self.max_norm / (parameter.grad.norm(2) + 1e-6)
                if factor < 1:
                    parameter.grad.mul_(factor)

    @torch.no_grad()
    def update_teacher(self) -> None:
        """Move each parameter of the teacher."""
        model, momentum = self.model, self.model.momentum
        for part in model.teacher:
            for old, new in zip(
                model.teacher[part].parameters(), getattr(model, part).parameters()
            ):
                old.mul_(momentum).add_((1 - momentum) * new)


def encode(backbone: nn.Module, views: Sequence[Tensor]) -> list[Tensor]:
    """Tokens (B, N, D) of each view; neighbors of one size share a pass."""
    tokens = []
    for _, group in groupby(views, key=lambda view: view.shape[-2:]):
        group = list(group)
        tokens += backbone(torch.cat(group))[-1].chunk(len(group))
    return tokens


def retrieve(queries: Tensor, keys: Tensor, scale: float) -> Tensor:
    """Mean-shift (paper, Eq. 4): queries (B, Q, D) and keys (B, N, D) to modes (B, Q, D)."""
    return (scale * (queries @ keys.transpose(-2, -1))).softmax(dim=-1) @ keys


def upcast(x: Tensor) -> Tensor:
    """Float32 at least."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
