r"""FLSL on one page: from image files to the new weights, in the plainest form. Read it downwards.

Views of an image, tokens, queries, their modes and positives by mean-shift, three losses, and what
follows them: as the paper's equations and common self-supervised code have it, with one backbone
pass per view size, attention matrices in memory, ``softmax().log()`` and Python loops over the
parameters. The project's own step has the same losses and updates, which a test holds it to;
`benchmark_pretrain.py` and `benchmark_dataloader.py` measure the two. Networks, the places of
queries, and what a config may switch on (Sinkhorn, centering, positional positives, an earlier
teacher) are the project's. Run as a program it trains on a folder of images, all schedules at their
start.

Example:
    python tools/analysis_tools/plain_step.py configs/pretrain/flsl_vits16_300e.py photos/ \
        --steps 20 --batch-size 8
"""

__tool__ = True

import argparse
import io
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, islice
from typing import Any

from flsl_mm.apis.command_line import (
    add_options_argument,
    add_step_arguments,
    read_config_file,
    run_command,
    start_tool,
    tool_parser,
)
from flsl_mm.utils.errors import ConfigError, DataError
from flsl_mm.utils.files import check_writable, whole_file


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument('config', help='config of an FLSL pretraining')
    parser.add_argument('images', help='folder of images')
    add_step_arguments(parser, batch_size=8, steps=20)
    parser.add_argument('--out', metavar='FILE', help='checkpoint to write, for every other tool')
    add_options_argument(parser)
    return parser.parse_args(arguments)


if __name__ == '__main__':
    start_tool(parse_args)

import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS, MODELS
from mmpretrain.structures import DataSample
from PIL import Image, ImageFilter, ImageOps
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as T

from flsl_mm.apis.frozen import usable_device
from flsl_mm.config import use_pretrained
from flsl_mm.datasets.transforms import RandomTeacherCrop
from flsl_mm.datasets.unlabeled_images import MAX_BROKEN_IN_A_ROW, UnlabeledImages
from flsl_mm.models import FLSL, MultiViewPreprocessor
from flsl_mm.models.data_preprocessors.photometry import Photometry
from flsl_mm.models.layers.positions import gather_tokens
from flsl_mm.models.necks import ViewPair

# 1. Views of an image.


class PlainViews(Dataset):
    """Normalized float views of every image, made on the CPU one by one, as the release does.

    All are cut from one crop, the teacher's, and recolored each by itself.

    Args:
        images: Where the files are.
        preprocessor: What views are wanted.
    """

    def __init__(self, images: UnlabeledImages, preprocessor: MultiViewPreprocessor) -> None:
        self.images = images
        self.num_teachers = preprocessor.num_teacher_views
        [crop] = (t for t in images.pipeline.transforms if isinstance(t, RandomTeacherCrop))
        self.teacher = random_crop(crop.size, crop.scale)
        self.cuts = [random_crop(size, scale) for size, scale in preprocessor.cuts]
        std = 1 / preprocessor.gain.flatten()
        self.normalize = T.Compose(
            [T.ToTensor(), T.Normalize(-preprocessor.shift.flatten() * std, std)]
        )
        settings = preprocessor.photometry
        self.photometry = PlainPhotometry(settings) if settings else lambda image: image

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)

    def __getitem__(self, index: int) -> list[Tensor]:
        """Views (3, H, W), teachers first."""
        crop = self.teacher(self._read(index))
        views = [crop] * self.num_teachers + [cut(crop) for cut in self.cuts]
        return [self.normalize(self.photometry(view)) for view in views]

    def _read(self, index: int) -> Image.Image:
        """An image, or the next one that can be read, as :class:`UnlabeledImages` takes it."""
        for offset in range(min(len(self.images), MAX_BROKEN_IN_A_ROW)):
            try:
                with open_stored(self.images, (index + offset) % len(self.images)) as file:
                    return file.convert('RGB')
            except OSError as error:
                reason = error
        raise reason


class PlainPhotometry:
    """The photometry of one view, by torchvision on PIL images.

    Args:
        settings: Its probabilities and ranges.
    """

    def __init__(self, settings: Photometry) -> None:
        jitter = T.ColorJitter(*zip(settings.low.tolist(), settings.high.tolist()))
        self.colors = T.Compose(
            [
                T.RandomApply([jitter], p=settings.jitter_prob),
                T.RandomGrayscale(p=settings.grayscale_prob),
            ]
        )
        self.endings = settings.endings.tolist()
        self.blur_sigma = settings.blur_sigma

    def __call__(self, image: Image.Image) -> Image.Image:
        """Recolor a view."""
        image = self.colors(image)
        blur, solarize = self.endings[int(torch.randint(len(self.endings), ()))]
        if torch.rand(()) < blur:
            radius = float(torch.empty(()).uniform_(*self.blur_sigma))
            image = image.filter(ImageFilter.GaussianBlur(radius))
        return ImageOps.solarize(image) if torch.rand(()) < solarize else image


def random_crop(size: int, scale: tuple[float, float]) -> T.RandomResizedCrop:
    """A crop of a share of the area in ``scale``, bicubic to ``size`` pixels."""
    return T.RandomResizedCrop(size, scale, interpolation=T.InterpolationMode.BICUBIC)


def open_stored(images: UnlabeledImages, index: int) -> Image.Image:
    """An image, not yet decoded, from its file or tar file."""
    info = images.get_data_info(index)
    content = info.get('img_bytes')
    return Image.open(info['img_path'] if content is None else io.BytesIO(content))


# 2. The step: what is learned from the views.


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
            views: Teacher views, as many student views, local views: (B, 3, H, W), normalized.
            dtype: bfloat16 runs under autocast.
            samples: For positional positives, as for :meth:`FLSL.loss`.
            clean: For the multi-stage option, as for :meth:`FLSL.loss`.

        Raises:
            RuntimeError: The loss is not finite.
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
        places = model.draw_places(views)  # of the tokens that the student encodes; None for all
        windows = model.draw_position_windows(views) or [None] * len(views)
        with torch.no_grad():
            teachers = encode(model.teacher.backbone, views[:count], windows[:count])
            earlier = encode(model.previous_teacher, clean) if model.previous_teacher else None
        students = encode(model.backbone, views[count:], windows[count:], places)

        # Each student view and the teacher view that its queries look into.
        pairs = model.pair(views, students, teachers, samples, earlier, places)
        z, modes, positives = (
            torch.cat(parts) for parts in zip(*(self.cluster(pair) for pair in pairs))
        )  # (M, D) each: the queries of all views

        with torch.no_grad():
            p_t = model.head.teacher_predictions(upcast(model.teacher.head(positives)))  # (M, K)
        p_s = (upcast(model.head(modes)) / model.head.student_temp).softmax(dim=-1)  # (M, K)
        p_bar = p_s.mean(dim=0)  # (K,)
        difference = F.normalize(upcast(z), dim=-1) - F.normalize(upcast(modes), dim=-1)
        weights = model.head.loss_weights
        return (
            weights['intra'] * difference.pow(2).sum(dim=-1).mean()
            - weights['inter'] * (p_t * p_s.log()).sum(dim=-1).mean()
            + weights['volume'] * (p_bar * (p_bar.log() - model.head.log_prior)).sum()
        )

    def cluster(self, pair: ViewPair) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, modes and positives (B * Q, D) of one student view (Eq. 4 and 12)."""
        neck, tokens = self.model.neck, pair.student
        indices = neck.queries(pair)  # one in each window of tokens
        z = gather_tokens(tokens, indices)
        modes = retrieve(z, tokens, neck.self_scale)
        with torch.no_grad():
            by_place = neck.positional_positives or neck.place_width < math.inf
            if by_place or pair.previous is not None:
                positives = neck.positives(pair, indices, z)
            else:
                positives = retrieve(z, pair.teacher, neck.cross_scale)
        return z.flatten(0, 1), modes.flatten(0, 1), positives.flatten(0, 1)

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
        """Move each parameter of the teacher a little towards the student's."""
        model, momentum = self.model, self.model.momentum
        for part in model.teacher:  # backbone and head
            student = getattr(model, part).parameters()
            for old, new in zip(model.teacher[part].parameters(), student):
                old.mul_(momentum).add_((1 - momentum) * new)


def retrieve(queries: Tensor, keys: Tensor, scale: float) -> Tensor:
    """One mean-shift (paper, Eq. 4): queries (B, Q, D) among keys (B, N, D) to modes (B, Q, D)."""
    return (scale * (queries @ keys.transpose(-2, -1))).softmax(dim=-1) @ keys


def encode(
    backbone: nn.Module,
    views: Sequence[Tensor],
    windows: Sequence[Tensor | None] = (None,),
    places: Sequence[Tensor] | None = None,
) -> list[Tensor]:
    """Tokens (B, N, D) of each view; neighbors of one size share a pass.

    With ``places`` (B, K) those tokens alone pass through the blocks, view by view, and so do views
    that read the position table in ``windows`` (B, 4).
    """
    tokens = []
    if places is not None or windows[0] is not None:
        for view, window, kept in zip(views, windows, places or [None] * len(views)):
            embedded = backbone.embed(view, window)
            tokens.append(embedded if kept is None else gather_tokens(embedded, kept))
            for layer in backbone.layers:
                tokens[-1] = layer(tokens[-1])
            tokens[-1] = backbone.final(tokens[-1])
        return tokens
    for _, group in groupby(views, key=lambda view: view.shape[-2:]):
        group = list(group)
        tokens += backbone(torch.cat(group))[-1].chunk(len(group))
    return tokens


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


def upcast(x: Tensor) -> Tensor:
    """Float32 at least."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


# 3. The program: a folder of images.


def read_flsl_config(path: str, options: Mapping[str, Any]) -> Config:
    """The config of a pretraining with FLSL, with overrides.

    Raises:
        ConfigError: It is none, or an override does not fit it.
        FileNotFoundError: There is none.
    """
    cfg = read_config_file(path, options)
    if cfg.get('model', {}).get('type') != 'FLSL':
        raise ConfigError(f'{path} is not a pretraining with FLSL')
    return cfg


def build_model(model_cfg: dict, device: str) -> nn.Module:
    """An initialized model in training mode."""
    torch.manual_seed(0)
    MMLogger.get_instance('mmengine', log_level='WARNING')  # it lists every parameter
    init_default_scope('mmpretrain')
    model = MODELS.build(model_cfg)
    model.init_weights()
    return model.to(device).train()


def batches(views: PlainViews, batch_size: int) -> Iterator[list[Tensor]]:
    """Batches of views (B, 3, H, W) of images in random order, epoch after epoch.

    Raises:
        DataError: There are fewer images than in a batch.
    """
    if len(views) < batch_size:
        raise DataError(f'{len(views)} images are fewer than --batch-size {batch_size}')
    while True:
        yield from DataLoader(views, batch_size, shuffle=True, drop_last=True)


def train(args: argparse.Namespace) -> None:
    """Take some steps, and print their losses.

    Raises:
        ConfigError: The config is no pretraining with FLSL, or asks for more than plain views.
        DataError: There are too few images.
    """
    cfg = read_flsl_config(args.config, args.cfg_options)
    if cfg.model.neck.get('positional_positives') or cfg.model.get('previous_teacher'):
        raise ConfigError(
            'plain views have no crop boxes and no un-augmented twins: set '
            'model.neck.positional_positives=False and model.previous_teacher=None'
        )
    if args.out:
        check_writable(args.out)
    use_pretrained(cfg)
    device = str(usable_device(args.device))
    model = build_model(cfg.model, device)
    images = DATASETS.build({**cfg.train_dataloader.dataset, 'data_root': args.images})
    adamw, clip = cfg.optim_wrapper.optimizer, cfg.optim_wrapper.clip_grad
    lr = adamw.lr * args.batch_size / cfg.auto_scale_lr.base_batch_size
    step = PlainStep(model, lr, adamw.weight_decay, clip.max_norm)
    stream = batches(PlainViews(images, model.data_preprocessor), args.batch_size)
    for number, views in enumerate(islice(stream, args.steps), start=1):
        loss = step([view.to(device) for view in views], getattr(torch, args.dtype))
        print(f'step {number}/{args.steps}: loss {loss:.4f}', flush=True)
    if args.out:
        with whole_file(args.out) as draft:
            torch.save(dict(state_dict=model.state_dict()), draft)
        print(f'checkpoint: {args.out}')


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parse_args(arguments)
    return run_command('plain_step.py', lambda: train(args))


if __name__ == '__main__':
    sys.exit(main())
