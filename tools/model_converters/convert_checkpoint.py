"""Convert any known ViT checkpoint to the layouts of mmpretrain or timm, or to ONNX."""

__tool__ = True

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from flsl_mm.apis.command_line import positive, run_command, start_tool, tool_parser

_EPILOG = """\
layouts read: FLSL training checkpoints, the authors' released FLSL, DINO (full and backbone), MAE,
MoCo v3, timm, Hugging Face transformers, mmpretrain, detectron2 ViTDet; .pth or .safetensors

A released FLSL file or one of ours becomes, with --to mmpretrain and without --key, the whole model
(backbone. head. teacher.backbone. teacher.head.), ready for `load_from`. Everything else becomes
one backbone without class token. See docs/checkpoints.md.

For programs that do not know this project, with class and register tokens where there are some:
--to timm and a DST without ending writes a folder for timm.create_model('local-dir:DST',
pretrained=True); --to onnx a file for any number of images of one size, or with --any-size of any.
See docs/use.md.
"""
_HINTS = dict(
    mmpretrain="loads in VisionTransformer(with_cls_token=False, out_type='featmap', ...)",
    timm="loads with strict=True in timm.create_model('vit_small_patch16_224' or as fits, "
    "class_token=False, global_pool='avg', fc_norm=False, num_classes=0)",
)


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.epilog = _EPILOG
    parser.add_argument('source', metavar='SRC', help='checkpoint to read')
    parser.add_argument(
        'destination',
        metavar='DST',
        help='file to write: .pth, .safetensors or .onnx, or a folder for timm; the report goes '
        'beside it as .json',
    )
    parser.add_argument(
        '--to', choices=('mmpretrain', 'timm', 'onnx'), required=True, help='layout of DST'
    )
    parser.add_argument(
        '--key',
        metavar='NAME',
        help='network to take: teacher, student, or an entry such as model_ema; the default is the '
        'whole model where there is one, else the teacher',
    )
    parser.add_argument(
        '--num-heads',
        type=positive,
        metavar='N',
        help='attention heads, where SRC does not record them and they are not 64 wide (for ONNX '
        'and folders)',
    )
    parser.add_argument(
        '--size',
        nargs=2,
        type=positive,
        metavar=('H', 'W'),
        help='pixels of the images of an ONNX file (those of pretraining)',
    )
    parser.add_argument(
        '--any-size',
        action='store_true',
        help='an ONNX file for images of any size of whole patches',
    )
    parser.add_argument(
        '--trust', action='store_true', help='read SRC even if that can execute code inside it'
    )
    parser.add_argument('--force', action='store_true', help='replace DST and its report')
    args = parser.parse_args(arguments)
    if (args.any_size or args.size) and args.to != 'onnx':
        parser.error('--size and --any-size are of ONNX files')
    if args.any_size and args.size:
        parser.error('--any-size and --size exclude each other')
    return args


if __name__ == '__main__':
    start_tool(parse_args)

from flsl_mm.checkpoint import convert_checkpoint
from flsl_mm.checkpoint.files import check_absent, check_destination, write_whole
from flsl_mm.utils.errors import errors_about
from flsl_mm.utils.files import write_json


def convert(args: argparse.Namespace) -> None:
    """Convert, and write the report beside it.

    Raises:
        CheckpointError: SRC cannot be converted, or DST not written.
    """
    destination = Path(args.destination)
    if args.to == 'onnx' or (args.to == 'timm' and not destination.suffix):
        return export(args, destination)
    check_destination(destination, args.force, args.source)
    record = destination.with_suffix('.json')
    check_absent(record, args.force)
    report = convert_checkpoint(
        args.source, args.destination, args.to, args.key, args.trust, args.force
    )
    text = json.dumps(asdict(report), indent=1)
    write_whole(record, lambda part: part.write_text(text))
    print(report)
    hint = 'loads as `load_from` of FLSL' if report.network == 'both' else _HINTS[args.to]
    print(f'wrote {args.destination} and {record.name}; {hint}')


def export(args: argparse.Namespace, destination: Path) -> None:
    """Write a network for other programs, and what it expects beside it.

    Raises:
        CheckpointError: SRC cannot be exported, or DST not written.
    """
    from flsl_mm.apis.exporting import export_network  # with the networks and their libraries

    record = destination.with_suffix('.json')
    check_absent(record, args.force)
    with errors_about(args.source):
        facts = export_network(
            args.source,
            destination,
            args.to,
            args.key,
            args.num_heads,
            args.size,
            args.trust,
            args.force,
            args.any_size,
        )
    write_json(record, dict(source=args.source, **facts))
    hint = f"opens in timm.create_model('local-dir:{destination}', pretrained=True)"
    if args.to == 'onnx':
        patch = facts['patch_size']
        sides = [f'any multiple of {patch}'] * 2 if args.any_size else map(str, facts['size'])
        hint = f'takes normalized images (any number, 3, {", ".join(sides)})'
    print(
        f'wrote {destination} and {record.name}; {hint}; differs by {facts["difference"]:.1g} from '
        'the network here'
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parse_args(arguments)
    return run_command('convert_checkpoint.py', lambda: convert(args))


if __name__ == '__main__':
    sys.exit(main())
