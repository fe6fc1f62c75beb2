r"""Convert UAVDT's detection ground truth to COCO JSON.

Ignored regions become crowd annotations (`iscrowd` and `ignore` 1), one for each category, as COCO
applies them by category. AP of COCO tools on the result is not UAVDT's official AP.

Example:
    python tools/dataset_converters/uavdt2coco.py data/uavdt test uavdt_test.json
"""

__tool__ = True

import argparse
import json
import sys
from collections.abc import Sequence
from os.path import relpath

from flsl_mm.apis.command_line import run_command, start_tool, tool_parser
from flsl_mm.utils.counts import counted
from flsl_mm.utils.files import whole_file


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument(
        'data_root', help='folder where UAV-benchmark-M and UAV-benchmark-MOTD_v1.0 were unpacked'
    )
    parser.add_argument('split', choices=['train', 'test'])
    parser.add_argument('out', metavar='OUT', help='JSON file to write')
    parser.add_argument('--sequences', nargs='+', metavar='NAME', help='these instead of all')
    parser.add_argument(
        '--frame-list', metavar='FILE', help='only the frames in this file (docs/uavdt.md)'
    )
    return parser.parse_args(arguments)


if __name__ == '__main__':
    start_tool(parse_args)

from flsl_mm.datasets.uavdt import UAVDTDataset
from flsl_mm.datasets.uavdt_index import find_folders


def convert_split(args: argparse.Namespace) -> None:
    """Read, convert and write.

    Raises:
        DataError: A line of the ground truth is malformed, or an image cannot be read.
        OSError: Files are missing, or OUT cannot be written.
    """
    dataset = UAVDTDataset(
        args.data_root, args.split, args.sequences, args.frame_list, serialize_data=False
    )
    image_dir, _ = find_folders(args.data_root, dataset.sequences)
    content = to_coco(dataset, str(image_dir))
    with whole_file(args.out) as draft:
        draft.write_text(json.dumps(content), encoding='utf-8')
    crowds = sum(annotation['iscrowd'] for annotation in content['annotations'])
    boxes = len(content['annotations']) - crowds
    print(
        f'{counted(len(content["images"]), "image")}, {counted(boxes, "box")} and '
        f'{counted(crowds, "crowd annotation")} written to {args.out}; '
        f'file names are relative to {image_dir}'
    )


def to_coco(dataset: UAVDTDataset, image_dir: str) -> dict:
    """The frames of a dataset as COCO's detection format.

    Args:
        dataset: Any selection of frames.
        image_dir: Folder that file names are relative to.

    Returns:
        dict: ``images``, ``annotations`` and ``categories``; numbers from 1.
    """
    classes = dataset.metainfo['classes']
    images, annotations = [], []
    for number, entry in enumerate(dataset, 1):
        images.append(
            dict(
                id=number,
                file_name=relpath(entry['img_path'], image_dir),
                width=entry['width'],
                height=entry['height'],
            )
        )
        for instance in entry['instances']:
            ignore = instance['ignore_flag']
            labels = range(len(classes)) if ignore else [instance['bbox_label']]
            left, top, right, bottom = instance['bbox']
            annotations += [
                dict(
                    id=0,
                    image_id=number,
                    category_id=label + 1,
                    bbox=[left, top, right - left, bottom - top],
                    area=(right - left) * (bottom - top),
                    iscrowd=ignore,
                    ignore=ignore,
                )
                for label in labels
            ]
    for number, annotation in enumerate(annotations, 1):
        annotation['id'] = number
    categories = [dict(id=number, name=name) for number, name in enumerate(classes, 1)]
    return dict(images=images, annotations=annotations, categories=categories)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parse_args(arguments)
    return run_command('uavdt2coco.py', lambda: convert_split(args))


if __name__ == '__main__':
    sys.exit(main())
