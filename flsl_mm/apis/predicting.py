"""Trained detectors and segmentors on images and videos without annotations."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.infer import BaseInferencer
from mmengine.registry import DATASETS, MODELS
from mmengine.structures import BaseDataElement
from PIL import Image
from torch import nn

from ..checkpoint import load_model
from ..config.channels import follow_channels
from ..config.classes import use_classes
from ..datasets.image_channels import COLORS, as_rgb, decode_channels, is_beyond_pillow, swap_colors
from ..datasets.image_content import open_image, page_count, read_content
from ..datasets.image_files import IMAGE_EXTENSIONS
from ..datasets.orientation import oriented
from ..datasets.transforms.load_fitting_image import LoadFittingImage
from ..datasets.transforms.load_rgb_image import to_rgb
from ..utils.colors import distinct_colors
from ..utils.errors import ConfigError, DataError
from ..utils.files import first_line, open_regular
from ..utils.images import check_input
from ..utils.progress import progress
from ..visualization.images import expand_patterns, find_image_files
from .tiling import Tile, make_tiles, merge_tiles

VIDEO_EXTENSIONS = ('.mp4', '.avi', '.mov', '.mkv', '.webm', '.m4v', '.mpg', '.mpeg')


class Prediction(NamedTuple):
    """What a network finds in an image.

    Attributes:
        name: Of the image, a relative path; frames of a video are ``VIDEO/000000.jpg`` and so on.
        pixels: The image, RGB (H, W, 3) uint8; of many channels the first three.
        sample: The library's data sample, on the CPU.
    """

    name: str
    pixels: np.ndarray
    sample: BaseDataElement


class _Safely:
    """How our inferencers differ from their libraries': by what they read.

    Weights are read strictly and without executing code; names and colors of the classes come from
    the checkpoint, so no data set need be there.

    Attributes:
        channels: That the network takes.
    """

    def __init__(self, cfg: Config, checkpoint: str, device: torch.device, trust: bool) -> None:
        self._trust = trust
        super().__init__(cfg, checkpoint, device=str(device), show_progress=False)
        self.visualizer.dataset_meta = self.model.dataset_meta  # mmseg's shows Cityscapes'
        self.visualizer.alpha = 0.5
        self.channels = cfg.model.backbone.get('in_channels', COLORS)
        if self.channels == 1:
            of_gray = self.pipeline
            self.pipeline = lambda pixels: of_gray(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY))

    def _init_model(self, cfg: Config, weights: str, device: str = 'cpu') -> nn.Module:
        """The model, loaded."""
        model = MODELS.build(cfg.model)
        model.cfg, model.dataset_meta = cfg, _classes(load_model(model, weights, self._trust), cfg)
        return model.to(device).eval()

    def _init_collate(self, cfg: Config) -> Callable:
        """The usual one; to look for another in the config only warns."""
        return pseudo_collate


def build_inferencer(
    cfg: Config, checkpoint: str | os.PathLike, device: torch.device, trust: bool = False
) -> BaseInferencer:
    """The inferencer of mmdet or mmseg for a config and a checkpoint of training.

    Args:
        cfg: Of a detector or segmentor; its data set is not looked at.
        checkpoint: It must fit the model exactly.
        device: Where to compute.
        trust: See :func:`~flsl_mm.checkpoint.read_checkpoint`.

    Raises:
        CheckpointError: The checkpoint cannot be read or does not fit.
        ConfigError: The config is of another kind.
    """
    scope = cfg.get('default_scope')
    if scope not in ('mmdet', 'mmseg') or cfg.get('test_dataloader') is None:
        raise ConfigError(
            f'{cfg.filename or "the config"} is of no detector or segmentor: default_scope must be '
            "'mmdet' or 'mmseg', and there must be a test_dataloader, whose pipeline is used"
        )
    if scope == 'mmdet':
        from mmdet.apis import DetInferencer as Inferencer
    else:
        from mmseg.apis import MMSegInferencer as Inferencer
    cfg = cfg.copy()
    use_classes(cfg)
    cfg.train_dataloader = None  # whatever its transforms need
    cfg.load_from = os.fspath(checkpoint)  # which knows the statistics of other images than RGB
    follow_channels(cfg)
    cfg.visualizer.vis_backends = None  # pictures are written here
    inferencer_type = type(f'Safe{Inferencer.__name__}', (_Safely, Inferencer), {})
    return inferencer_type(cfg, os.fspath(checkpoint), device, trust)


def _classes(checkpoint: Mapping[str, Any], cfg: Config) -> dict[str, Any]:
    """Names ``classes`` and colors ``palette``: of a checkpoint, else of the config's data set.

    Raises:
        ConfigError: Neither knows them.
    """
    meta = dict((checkpoint.get('meta') or {}).get('dataset_meta') or {})
    if not meta.get('classes'):
        dataset = cfg.test_dataloader.dataset
        meta = dict(getattr(DATASETS.get(dataset.type), 'METAINFO', {}))
        meta |= dataset.get('metainfo', {})
    if not meta.get('classes'):
        raise ConfigError(
            'neither the checkpoint nor the config says how the classes are called: set '
            "test_dataloader.dataset.metainfo={'classes': [...]}"
        )
    classes, colors = meta['classes'], list(meta.get('palette') or [])[: len(meta['classes'])]
    if len(colors) < len(classes):  # of classes of one's own
        colors = distinct_colors(len(classes))
    return dict(classes=tuple(classes), palette=[tuple(map(int, color)) for color in colors])


class Pictures:
    """Images and frames of videos, read one by one.

    Args:
        sources: Files, folders and patterns, see :func:`find_image_files`; a video is known by its
            ending. A TIFF of several pages is like a video.

    Attributes:
        channels: Of the network that is to see them; for one of gray they are RGB too.
        unreadable: Why, by name, of those that were met and could not be read.

    Raises:
        DataError: There are none.
    """

    channels: int = COLORS

    def __init__(self, sources: Sequence[str]) -> None:
        paths = map(os.path.abspath, find_image_files(sources, IMAGE_EXTENSIONS + VIDEO_EXTENSIONS))
        roots = (s if os.path.isdir(s) else os.path.dirname(s) for s in expand_patterns(sources))
        base = os.path.commonpath(list(map(os.path.abspath, roots)))
        self._paths = {os.path.relpath(path, base): path for path in paths}
        self.unreadable: dict[str, str] = {}

    def __len__(self) -> int:
        """Number of images and, as far as the files say it, of frames and pages."""
        if self._have_many_channels():
            return len(self._paths)
        return sum(
            _count_frames(p) if _is_video(p) else _count_pages(p) for p in self._paths.values()
        )

    def _have_many_channels(self) -> bool:
        """Whether they are no pictures of gray or color."""
        return self.channels not in (1, COLORS)

    def __iter__(self) -> Iterator[tuple[str, np.ndarray]]:
        """Name and pixels, uint8 (H, W, C): BGR, and what else the network takes."""
        for name, path in self._paths.items():
            try:
                if self._have_many_channels():
                    load = LoadFittingImage(color_type='unchanged')
                    pixels = np.atleast_3d(load(dict(img_path=path))['img'])
                    check_input(pixels.shape[2], self.channels)
                    yield name, pixels
                elif _is_video(path):
                    yield from ((f'{name}/{i:06}.jpg', f) for i, f in enumerate(_frames(path)))
                elif (pages := _count_pages(path)) > 1:
                    yield from ((f'{name}/{i:06}.jpg', _read_page(path, i)) for i in range(pages))
                else:
                    yield name, LoadFittingImage().transform(dict(img_path=path))['img']
            except (DataError, OSError) as error:
                self.unreadable[name] = str(error)


def _is_video(path: str) -> bool:
    return path.lower().endswith(VIDEO_EXTENSIONS)


def _count_frames(path: str) -> int:
    return max(1, int(cv2.VideoCapture(path).get(cv2.CAP_PROP_FRAME_COUNT)))


def _count_pages(path: str) -> int:
    """Of a TIFF; 1 of any other file, or of one that cannot be read."""
    if not path.lower().endswith(('.tif', '.tiff')):
        return 1
    try:
        with open_regular(path) as file, Image.open(file) as image:
            return page_count(image)
    except Exception:  # of nearly every type, and told when it is read
        return 1


def _read_page(path: str, number: int) -> np.ndarray:
    """A page of a TIFF, BGR (H, W, 3).

    Raises:
        DataError: It is damaged.
    """
    try:
        content = read_content(path)
        if is_beyond_pillow(content):
            return swap_colors(decode_channels(content, COLORS, choose=lambda _: number))
        with open_image(content, lambda _: number) as image:
            return np.ascontiguousarray(np.array(to_rgb(oriented(image)))[..., ::-1])
    except Exception as error:  # of nearly every type
        raise DataError(f'page {number} cannot be read: {first_line(error)}') from error


def _frames(path: str) -> Iterator[np.ndarray]:
    """The frames of a video, BGR.

    Raises:
        DataError: There is none that OpenCV can read.
    """
    video, found = cv2.VideoCapture(path), 0
    while True:
        whole, frame = video.read()
        if not whole:
            break
        found += 1
        yield frame
    if not found:
        raise DataError(f'{path}: OpenCV finds no frame of a video in it')


def predict(
    inferencer: BaseInferencer, pictures: Pictures, batch_size: int = 1
) -> Iterator[Prediction]:
    """Predict on all pictures, in their order.

    A batch holds consecutive pictures of one size, so that what is found in one does not depend on
    how another was padded.

    Args:
        inferencer: Of :func:`build_inferencer`.
        pictures: What to predict on.
        batch_size: At most so many at a time.
    """
    batch: list[tuple[str, np.ndarray, dict]] = []
    for name, pixels in progress(pictures, len(pictures), 'images'):
        prepared = inferencer.pipeline(pixels)
        full = len(batch) == batch_size
        if full or (batch and batch[0][2]['inputs'].shape != prepared['inputs'].shape):
            yield from _predict_batch(inferencer, batch)
            batch = []
        batch.append((name, pixels, prepared))
    if batch:
        yield from _predict_batch(inferencer, batch)


def _predict_batch(
    inferencer: BaseInferencer, batch: Sequence[tuple[str, np.ndarray, dict]]
) -> Iterator[Prediction]:
    samples = inferencer.forward(inferencer.collate_fn([prepared for *_, prepared in batch]))
    for (name, pixels, _), sample in zip(batch, samples):
        yield Prediction(name, as_rgb(pixels), sample.cpu())


def predict_in_tiles(
    inferencer: BaseInferencer,
    pictures: Pictures,
    side: int,
    overlap: float,
    batch_size: int = 1,
    score: float = 0.0,
) -> Iterator[Prediction]:
    """Predict on all pictures as on their tiles, each at its own resolution.

    Args:
        inferencer: Of :func:`build_inferencer`.
        pictures: What to predict on.
        side: Of the tiles, in pixels of the picture.
        overlap: Least share of a tile that it has in common with the next one, in [0, 1).
        batch_size: At most so many tiles at a time.
        score: Detections of a lower score are left out.
    """
    for name, pixels in progress(pictures, len(pictures), 'images'):
        size = pixels.shape[:2]
        tiles = make_tiles(size, side, overlap)
        samples = _predict_tiles(inferencer, pixels, tiles, batch_size)
        found = merge_tiles(tiles, samples, size, score)
        yield Prediction(name, as_rgb(pixels), found)


def _predict_tiles(
    inferencer: BaseInferencer, pixels: np.ndarray, tiles: Sequence[Tile], batch_size: int
) -> Iterator[BaseDataElement]:
    """What is found in each tile, in its pixels, on the CPU."""
    for start in range(0, len(tiles), batch_size):
        crops = (
            np.ascontiguousarray(pixels[tile.top : tile.bottom, tile.left : tile.right])
            for tile in tiles[start : start + batch_size]
        )
        prepared = list(map(inferencer.pipeline, crops))
        for sample in inferencer.forward(inferencer.collate_fn(prepared)):
            yield sample.cpu()


def draw_prediction(inferencer: BaseInferencer, found: Prediction, score: float) -> np.ndarray:
    """The picture of a prediction, by the library's visualizer, RGB (H, W, 3) uint8.

    Args:
        inferencer: That predicted it.
        found: The prediction.
        score: Detections below it are left out.
    """
    options = dict(pred_score_thr=score) if 'pred_instances' in found.sample else {}
    drawer = inferencer.visualizer
    drawer.add_datasample(found.name, found.pixels, found.sample, draw_gt=False, **options)
    return drawer.get_image()


def detections(found: Prediction, classes: Sequence[str], score: float) -> list[dict[str, Any]]:
    """The objects of a prediction as in COCO's files of results, the surest first.

    Args:
        found: Of a detector.
        classes: Their names.
        score: The least that is kept.

    Returns:
        list: Of each object ``file_name``, ``category_id`` (from 1, in the order of ``classes``),
        ``category_name``, ``score``, ``bbox`` (x, y, width, height in pixels of the image), and
        ``segmentation`` (compressed run lengths) where the network has masks.
    """
    instances = found.sample.pred_instances
    instances = instances[instances.scores >= score]
    instances = instances[instances.scores.argsort(descending=True, stable=True)]
    boxes = instances.bboxes.double().numpy()
    boxes[:, 2:] -= boxes[:, :2]
    objects = [
        dict(
            file_name=found.name,
            category_id=label + 1,
            category_name=classes[label],
            bbox=[round(side, 2) for side in box],
            score=round(sure, 5),
        )
        for box, label, sure in zip(
            boxes.tolist(), instances.labels.tolist(), instances.scores.tolist()
        )
    ]
    if 'masks' in instances:
        for item, run_lengths in zip(objects, encode_masks(instances.masks.numpy())):
            item['segmentation'] = run_lengths
    return objects


def encode_masks(masks: np.ndarray) -> list[dict[str, Any]]:
    """COCO's compressed run lengths of masks (N, H, W), ready for JSON."""
    from pycocotools import mask as coco_mask

    columns = np.asfortranarray(masks.transpose(1, 2, 0).astype(np.uint8))
    encoded = coco_mask.encode(columns) if len(masks) else []
    return [dict(size=list(m['size']), counts=m['counts'].decode()) for m in encoded]
