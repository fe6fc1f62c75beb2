r"""Draw what training has logged as curves, several runs over each other.

Example:
    python tools/analysis_tools/plot_curves.py work_dirs/flsl_vits16_300e OTHER=work_dirs/other \
        --keys loss loss_inter prototypes_used --out curves.png
"""

__tool__ = True

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from flsl_mm.apis.command_line import positive, run_command, split_name, start_tool, tool_parser
from flsl_mm.utils.counts import counted
from flsl_mm.utils.errors import DataError


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument(
        'runs',
        nargs='+',
        metavar='[NAME=]RUN',
        help='work dirs or scalars.json files, with the name to show, if wanted',
    )
    parser.add_argument(
        '--keys',
        nargs='+',
        metavar='KEY',
        help='numbers to draw (the losses and what tells a collapse, of what there is)',
    )
    parser.add_argument(
        '--window',
        type=positive,
        default=1,
        metavar='N',
        help='average over N logged values; they stay visible behind (%(default)s)',
    )
    parser.add_argument(
        '--out', metavar='FILE', default='work_dirs/curves.png', help='picture (%(default)s)'
    )
    parser.add_argument('--dpi', type=positive, default=150, help='of the PNG (%(default)s)')
    args = parser.parse_args(arguments)
    if Path(args.out).suffix.lower() != '.png':
        parser.error(f'--out must end in .png, got {args.out}')
    return args


if __name__ == '__main__':
    start_tool(parse_args)

from flsl_mm.utils.progress import about_length
from flsl_mm.visualization import curves_figure, read_training_log
from flsl_mm.visualization.saving import save_figure


def run_name(path: str) -> str:
    """What to call a run without a name: its work dir, also where PATH is a file in it."""
    parts = Path(path).absolute().parts
    return parts[-4] if len(parts) > 4 and parts[-2] == 'vis_data' else parts[-1]


def read_runs(texts: Sequence[str]) -> dict[str, list[dict]]:
    """The logs of the runs, by the name to show.

    Raises:
        DataError: A log cannot be read, or two runs have the same name.
    """
    runs: dict[str, list[dict]] = {}
    for text in texts:
        name, path = split_name(text)
        name = name or run_name(path)
        if name in runs:
            raise DataError(f'two runs are called {name}: name them, as in A=RUN B=RUN')
        runs[name] = read_training_log(path)
    return runs


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parse_args(arguments)

    def command() -> None:
        runs = read_runs(args.runs)
        save_figure(curves_figure(runs, args.keys, args.window), args.out, args.dpi)
        for name, rows in runs.items():
            last = rows[-1]['iter']
            print(f'{name}: {counted(len(rows), "row")}, to iteration {last}')
            if 'prototypes_used' in rows[0] and (remark := about_length(last)):
                print(f'{name}: {remark}')
        print(f'picture: {args.out}')

    return run_command('plot_curves.py', command)


if __name__ == '__main__':
    sys.exit(main())
