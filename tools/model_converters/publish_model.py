"""Publish the backbone of a checkpoint: no optimizer, sha256 in the name, its origin as JSON."""

__tool__ = True

import argparse
import sys
from collections.abc import Sequence

from flsl_mm.apis.command_line import run_command, start_tool


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('source', metavar='IN', help='checkpoint to read, in any known layout')
    parser.add_argument(
        'destination',
        metavar='OUT',
        help='DIR/NAME.pth or .safetensors; the file becomes DIR/NAME-<sha256>.pth',
    )
    parser.add_argument(
        '--key',
        metavar='NAME',
        help='network to take: teacher, student, or an entry such as model_ema (the teacher)',
    )
    parser.add_argument(
        '--trust', action='store_true', help='read IN even if that can execute code inside it'
    )
    parser.add_argument('--force', action='store_true', help='replace files that exist')
    return parser.parse_args(arguments)


if __name__ == '__main__':
    start_tool(parse_args)

from flsl_mm.checkpoint import publish_model


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parse_args(arguments)

    def command() -> None:
        path, report = publish_model(
            args.source, args.destination, args.key, args.trust, args.force
        )
        print(report)
        print(f'wrote {path} and {path.with_suffix(".json").name}')

    return run_command('publish_model.py', command)


if __name__ == '__main__':
    sys.exit(main())
