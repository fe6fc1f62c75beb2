"""Convert any known ViT checkpoint to mmpretrain's or timm's layout."""

__tool__ = True

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from flsl_mm.apis.command_line import run_command, start_tool

_EPILOG = """\
layouts read: FLSL training checkpoints, the authors' released FLSL, DINO (full and backbone), MAE,
MoCo v3, timm, Hugging Face transformers, mmpretrain, detectron2 ViTDet; .pth or .safetensors

A released FLSL file or one of ours becomes, with --to mmpretrain and without --key, the whole model
(backbone. head. teacher.backbone. teacher.head.), ready for `load_from`. Everything else becomes
one backbone without class token. See docs/checkpoints.md.
"""
_HINTS = dict(
    mmpretrain="loads in VisionTransformer(with_cls_token=False, out_type='featmap', ...)",
    timm="loads with strict=True in timm.create_model('vit_small_patch16_224' or as fits, "
    "class_token=False, global_pool='avg', fc_norm=False, num_classes=0)",
)


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('source', metavar='SRC', help='checkpoint to read')
    parser.add_argument(
        'destination',
        metavar='DST',
        help='file to write: .pth or .safetensors; the report goes beside it as .json',
    )
    parser.add_argument('--to', choices=('mmpretrain', 'timm'), required=True, help='layout of DST')
    parser.add_argument(
        '--key',
        metavar='NAME',
        help='network to take: teacher, student, or an entry such as model_ema; the default is the '
        'whole model where there is one, else the teacher',
    )
    parser.add_argument(
        '--trust', action='store_true', help='read SRC even if that can execute code inside it'
    )
    parser.add_argument('--force', action='store_true', help='replace DST and its report')
    return parser.parse_args(arguments)


if __name__ == '__main__':
    start_tool(parse_args)

from flsl_mm.checkpoint import convert_checkpoint
from flsl_mm.checkpoint.files import check_absent, check_destination, write_whole


def convert(args: argparse.Namespace) -> None:
    """Convert, and write the report beside it.

    Raises:
        CheckpointError: SRC cannot be converted, or DST not written.
    """
    destination = Path(args.destination)
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parse_args(arguments)
    return run_command('convert_checkpoint.py', lambda: convert(args))


if __name__ == '__main__':
    sys.exit(main())
