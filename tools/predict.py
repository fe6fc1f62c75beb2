r"""Detections or segmentations of any images and videos: numbers and pictures, without annotations.

IMAGES are files, folders, patterns in quotes and videos. OUT gets predictions.json, pictures/ with
one for each image, summary.json, and for segmentation labels/ with a PNG for each image.

Example:
    python tools/predict.py configs/coco/mask-rcnn_flsl-vits16_fpn_1x_coco.py epoch_12.pth \
        photos/ 'more/*.png' holiday.mp4 work_dirs/predictions --score 0.5
"""

__tool__ = True

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flsl_mm.apis.command_line import (
    add_device_argument,
    add_options_argument,
    add_trust_argument,
    log_details,
    positive,
    read_config_file,
    report_unreadable,
    run_command,
    start_tool,
    tool_parser,
)
from flsl_mm.utils.counts import counted
from flsl_mm.utils.errors import ConfigError, DataError, first_names
from flsl_mm.utils.files import check_writable, whole_file, write_json


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument('config', help='config file the model was trained with')
    parser.add_argument('checkpoint', help='checkpoint of training; it must fit the model exactly')
    parser.add_argument(
        'images', nargs='+', metavar='IMAGES', help='image files, folders, patterns, videos'
    )
    parser.add_argument('out', metavar='OUT', help='folder to write')
    parser.add_argument(
        '--score',
        type=float,
        default=0.3,
        metavar='S',
        help='leave detections of a lower score out (%(default)s)',
    )
    parser.add_argument(
        '--batch-size',
        type=positive,
        default=1,
        metavar='N',
        help='images or tiles at a time, where neighbors are of one size (%(default)s)',
    )
    parser.add_argument(
        '--tiles',
        type=positive,
        metavar='PIXELS',
        help='cut larger images into tiles of this side, predict on each and merge',
    )
    parser.add_argument(
        '--overlap',
        type=float,
        metavar='SHARE',
        help='of a tile that it has at least in common with the next one, below 1 (0.2)',
    )
    add_options_argument(parser, 'override entries of the config, as in training')
    add_trust_argument(parser)
    add_device_argument(parser)
    args = parser.parse_args(arguments)
    if not 0 <= args.score <= 1:
        parser.error(f'--score must be between 0 and 1, got {args.score:g}')
    if args.overlap is not None and args.tiles is None:
        parser.error('--overlap is that of --tiles, which is not given')
    if not 0 <= (args.overlap or 0) < 1:
        parser.error(f'--overlap must be at least 0 and below 1, got {args.overlap:g}')
    return args


if __name__ == '__main__':
    start_tool(parse_args, has_log=True)

import numpy as np
from PIL import Image

from flsl_mm.apis.frozen import usable_device
from flsl_mm.apis.predicting import (
    Pictures,
    Prediction,
    build_inferencer,
    detections,
    draw_prediction,
    predict,
    predict_in_tiles,
)
from flsl_mm.apis.trained import use_trained_settings
from flsl_mm.visualization.saving import PictureNames


def write_image(image: Image.Image, path: Path) -> None:
    """Write a picture whole or not at all; makes the folder."""
    with whole_file(path) as draft:
        image.save(draft, format='PNG' if path.suffix.lower() == '.png' else 'JPEG', quality=92)


def write_labels(
    found: Prediction, classes: Sequence[str], palette: Sequence[Sequence[int]], path: Path
) -> dict[str, float]:
    """Write the labels of an image as a PNG with the colors of the classes.

    Args:
        found: Of a segmentor.
        classes: Names by label.
        palette: Colors by label.
        path: The PNG; a pixel's value is its label, from 0.

    Returns:
        dict: The share of the image that each class has, by name.
    """
    labels = found.sample.pred_sem_seg.data[0].numpy().astype(np.uint8)
    image = Image.fromarray(labels)
    image.putpalette(np.array(palette, np.uint8).tobytes())
    write_image(image, path)
    values, counts = np.unique(labels, return_counts=True)
    return {classes[v]: round(n / labels.size, 4) for v, n in zip(values, counts.tolist())}


def predict_files(args: argparse.Namespace) -> None:
    """Predict, and write what is found.

    Raises:
        CheckpointError: The checkpoint cannot be read or does not fit.
        ConfigError: The config is of no detector or segmentor.
        DataError: No image can be read.
    """
    args.device = usable_device(args.device)
    pictures, out = Pictures(args.images), Path(args.out)
    use_trained_settings(args)
    cfg = read_config_file(args.config, args.cfg_options)
    inferencer = build_inferencer(cfg, args.checkpoint, args.device, args.trust)
    pictures.channels = inferencer.channels
    classes, palette = (inferencer.model.dataset_meta[key] for key in ('classes', 'palette'))
    if len(classes) > 256 and cfg.default_scope == 'mmseg':
        raise ConfigError(f'{len(classes)} classes do not fit the 8 bits of a PNG of labels')
    check_writable(out / 'predictions.json')
    log_details(out / 'predict.log')
    results, names, count = [], PictureNames(), 0
    if args.tiles is None:
        predictions = predict(inferencer, pictures, args.batch_size)
    else:
        args.overlap = 0.2 if args.overlap is None else args.overlap
        predictions = predict_in_tiles(
            inferencer, pictures, args.tiles, args.overlap, args.batch_size, args.score
        )
    for found in predictions:
        count += 1
        if 'pred_sem_seg' in found.sample:
            labels = names('labels', found.name, endings=('.png',))
            results.append(dict(file_name=found.name, labels=str(labels)))
            results[-1]['shares'] = write_labels(found, classes, palette, out / labels)
        else:
            results += detections(found, classes, args.score)
        picture = out / names('pictures', found.name)
        write_image(Image.fromarray(draw_prediction(inferencer, found, args.score)), picture)
    finish(args, results, count, pictures, classes)


def finish(
    args: argparse.Namespace,
    results: list[dict[str, Any]],
    count: int,
    pictures: Pictures,
    classes: Sequence[str],
) -> None:
    """Write the JSON files and say what was done.

    Raises:
        DataError: No image could be read.
    """
    out, unreadable = Path(args.out), pictures.unreadable
    left = report_unreadable(unreadable)
    if not count:
        raise DataError(f'none of {counted(len(unreadable), "image")} can be read')
    write_json(out / 'predictions.json', results)
    settings = dict(vars(args), device=str(args.device))
    write_json(
        out / 'summary.json',
        dict(settings=settings, classes=classes, images=count, unreadable=unreadable),
    )
    kind = 'label map' if results and 'labels' in results[0] else 'object'
    print(f'{counted(count, "image")}, {counted(len(results), kind)}{left}')
    if kind == 'object':
        numbers = first_names([f'{i} {name}' for i, name in enumerate(classes, start=1)])
        print(f"category_id counts the network's classes, whatever a file's ids are: {numbers}")
    print(f'written to {out}')


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parse_args(arguments)
    return run_command('predict.py', lambda: predict_files(args))


if __name__ == '__main__':
    sys.exit(main())
