"""What the command lines of the tools have in common.

Every tool is laid out so: its docstring, ``__tool__ = True``, imports that cost little, the parser,
:func:`start_tool`, the imports that load torch, the work, and ``main()`` last. So ``--help``, a
misspelt option and a missing file are answered at once. This module is one of those that cost
little: what loads torch is imported inside its functions.
"""

import argparse
import ast
import atexit
import os
import os.path as osp
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from mmengine.config import Config, DictAction

from ..utils.errors import ConfigError, UserError
from ..utils.library_remarks import keep_library_remarks, real_stdout, take_library_remarks

if TYPE_CHECKING:
    from mmengine.runner import Runner

# Before torch is imported. By default OpenMP's threads spin while they wait, which slows training
# on a CPU ten times down as soon as anything else, such as a data worker, wants the same cores. If
# they sleep at once, waking them up costs small networks half of the speed; so GNU's spin shortly.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
os.environ.setdefault('GOMP_SPINCOUNT', '2000')


def start_tool(parse: Callable[[], argparse.Namespace], has_log: bool = False) -> None:
    """Answer ``--help``, wrong arguments and missing files; then register what configs name.

    Called between a tool's parser and its imports of torch, when it is run as a program. These may
    take half a minute from a cold disk, so a line on stderr says that they have begun.

    Args:
        parse: Reads the command line. Of what it returns ``config``, ``checkpoint``,
            ``checkpoints`` and ``source`` are files that have to be there.
        has_log: The work has a log file, which gets what libraries print at the start: a run, or
            what calls :func:`log_details`.
    """
    args = vars(parse())
    problem = None
    if args.get('config') and not osp.isfile(args['config']):
        problem = f'there is no config file {args["config"]}'
    single = list(filter(None, (args.get('checkpoint'), args.get('source'))))
    for source in [*single, *(args.get('checkpoints') or ())]:
        name, path = split_name(source)
        if name is not None and source in single:
            problem = problem or f'{source}: nothing here shows the name {name}: give {path} alone'
        if not path.startswith(('random:', 'timm:')) and not osp.exists(path):
            problem = problem or f'{path}: no such file'
    if problem:
        print(f'{osp.basename(sys.argv[0])}: error: {problem}', file=sys.stderr)
        sys.exit(2)
    _say_that_it_starts()
    keep_library_remarks()
    import flsl_mm

    flsl_mm.register()
    if not has_log:
        take_library_remarks()


def _say_that_it_starts() -> None:
    """The first line of a tool; several processes have one together."""
    rank = os.environ.get('RANK', os.environ.get('SLURM_PROCID', '0'))
    if rank == '0':
        name = osp.basename(sys.argv[0])
        print(f'{name}: loading torch and OpenMMLab ...', file=sys.stderr, flush=True)


class OptionsAction(DictAction):
    """mmengine's ``KEY=VALUE`` options; texts may have blanks, and anything else in quotes.

    As in mmengine ``3``, ``0.1``, ``true`` and ``None`` are what they look like, and ``a,b`` and
    ``[a,b]`` are lists, without their blanks. Beyond that ``"007"`` and ``"a,b"`` with the quotes
    (inside those of the shell) are texts, and Python literals with quotes or braces are read as
    Python does.
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Sequence[str],
        option_string: str | None = None,
    ) -> None:
        """Add to the dict of the namespace; the command ends where something cannot be read."""
        options = dict(getattr(namespace, self.dest, None) or {})
        for text in values:
            key, equals, value = text.partition('=')
            if not equals:
                parser.error(f'{option_string} takes KEY=VALUE, got {text!r}')
            try:
                options[key] = read_value(value)
            except (ValueError, AssertionError, RecursionError):
                parser.error(
                    f'{option_string}: cannot read {text!r}; a text with commas or brackets needs '
                    'quotes, a dict is Python: {"key": True}'
                )
        setattr(namespace, self.dest, options)


def read_value(text: str) -> Any:
    """The value that a text stands for, see :class:`OptionsAction`.

    Raises:
        ValueError: A dict is not written as in Python.
        AssertionError: Brackets do not match.
        RecursionError: Nor do these.
    """
    bracket = text[:1] in tuple('[({')
    if (bracket or text[:1] in ('"', "'")) and any(mark in text for mark in '\'"{'):
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError) as error:
            if bracket and '{' in text:
                raise ValueError(f'no dict of Python: {text}') from error
        else:
            return value if bracket or isinstance(value, str) else list(value)
    if text[:1] in ('[', '(') or ',' in text:
        return DictAction._parse_iterable(text)
    return DictAction._parse_int_float_bool(text)


def tool_parser(doc: str) -> argparse.ArgumentParser:
    """The parser of a tool; its help begins with the tool's docstring, as it is written."""
    return argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )


# Their message says what a user can do.
USER_ERRORS = (UserError, OSError)


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add OpenMMLab's usual arguments of a run to a parser that has ``config``."""
    parser.add_argument(
        '--work-dir', help='folder for logs and results (work_dirs/<name of the config>)'
    )
    add_options_argument(parser)
    add_trust_argument(parser)
    add_launcher_arguments(parser)


def add_options_argument(
    parser: argparse.ArgumentParser,
    text: str = 'override entries of the config, such as train_dataloader.batch_size=8',
    metavar: str = 'KEY=VALUE',
) -> None:
    """Add ``--cfg-options``, a dict of overrides; ``text`` is its help."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=OptionsAction,
        default={},
        metavar=metavar,
        help=text,
    )


def add_step_arguments(
    parser: argparse.ArgumentParser, batch_size: int, steps: int, warmup: int | None = None
) -> None:
    """Add how many steps are taken, and where and how; with ``warmup`` those before measuring."""
    parser.add_argument(
        '--batch-size', type=positive, default=batch_size, metavar='N', help='(%(default)s)'
    )
    parser.add_argument(
        '--steps', type=positive, default=steps, metavar='N', help='steps to take (%(default)s)'
    )
    if warmup is not None:
        parser.add_argument(
            '--warmup',
            type=not_negative,
            default=warmup,
            metavar='N',
            help='steps before them, not measured (%(default)s)',
        )
    add_device_argument(parser)
    parser.add_argument(
        '--dtype', choices=['float32', 'bfloat16'], default='float32', help='(%(default)s)'
    )


def add_trust_argument(parser: argparse.ArgumentParser) -> None:
    """Add the permission to read what :func:`~flsl_mm.checkpoint.read_checkpoint` refuses."""
    parser.add_argument(
        '--trust',
        action='store_true',
        help='also read checkpoints that may execute code; only for files of known origin',
    )


def add_launcher_arguments(parser: argparse.ArgumentParser) -> None:
    """Add how several processes of a command find each other."""
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='job launcher, for several processes (torchrun is pytorch)',
    )
    # torch.distributed.launch passes the rank as an argument, torchrun as a variable.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


CHECKPOINT_HELP = (
    'file of any layout that docs/checkpoints.md lists, timm:NAME for what timm downloads, or with '
    'random weights random:ARCH/PATCH such as random:deit-small/16, random:timm/NAME, or '
    'random:FILE for the design of a file'
)


def add_network_arguments(
    parser: argparse.ArgumentParser,
    name: str = 'checkpoints',
    several: bool = True,
) -> None:
    """Add the arguments that say which networks to use, and where.

    Args:
        parser: Gets ``name``, ``--key``, ``--num-heads``, ``--trust``, ``--seed`` and ``--device``.
        name: Of the checkpoints' argument, positional or with dashes (then it is required).
        several: Whether more than one checkpoint may be given.
    """
    options = dict(required=True) if name.startswith('-') else {}
    if several:
        options['nargs'] = '+'
    parser.add_argument(name, metavar='CHECKPOINT', help=CHECKPOINT_HELP, **options)
    parser.add_argument(
        '--key',
        metavar='NAME',
        help='which network of files that hold several: teacher, student, or an entry such as '
        'model_ema (teacher)',
    )
    parser.add_argument(
        '--num-heads',
        type=int,
        metavar='N',
        help='attention heads, where a file does not record them and they are not 64 wide',
    )
    add_trust_argument(parser)
    parser.add_argument(
        '--seed', type=int, default=0, metavar='N', help='seed of random weights (%(default)s)'
    )
    add_device_argument(parser)


def add_device_argument(parser: argparse.ArgumentParser) -> None:
    """Add where to compute."""
    parser.add_argument(
        '--device',
        metavar='NAME',
        help='cpu, cuda or cuda:N (a GPU where there is one)',
    )


def read_config(args: argparse.Namespace) -> Config:
    """The config file with the settings of :func:`add_run_arguments`.

    Raises:
        FileNotFoundError: It is missing, or a file that it inherits from.
        ConfigError: An override does not fit the config.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = read_config_file(args.config, args.cfg_options)
    cfg.launcher = args.launcher
    if args.work_dir:
        cfg.work_dir = args.work_dir
    elif not cfg.get('work_dir'):
        cfg.work_dir = osp.join('work_dirs', osp.splitext(osp.basename(args.config))[0])
    return cfg


def read_config_file(
    path: str | os.PathLike,
    options: Mapping[str, Any],
    entries: Callable[[Config], Iterable[str]] | None = None,
) -> Config:
    """A config file with overrides, such as ``{'train_dataloader.batch_size': 8}``.

    Args:
        path: The file.
        options: The overrides.
        entries: Top-level entries of it that are read; those of a run by default. The others are
            variables that these are built from.

    Raises:
        FileNotFoundError: It is missing, or a file that it inherits from.
        ConfigError: An override does not fit the config.
    """
    if not osp.isfile(path):
        raise FileNotFoundError(f'there is no config file {path}')
    from ..config.entries import check_names
    from ..config.variables import follow_variables, run_entries
    from ..config.width import follow_backbone

    cfg = Config.fromfile(path)
    known = set(entries(cfg) if entries else run_entries())
    _check_known(options, {*cfg, *known}, path)
    try:
        cfg.merge_from_dict(dict(options))
    except (TypeError, KeyError, IndexError) as error:
        raise ConfigError(f'--cfg-options do not fit {path}: {error}') from error
    follow_variables(cfg, known)
    if entries is None:
        follow_backbone(cfg)
    check_names(cfg, known)
    return cfg


def _check_known(options: Iterable[str], known: set[str], path: str | os.PathLike) -> None:
    """Refuse overrides that nothing would read, such as misspelt ones.

    Raises:
        ConfigError: The config has no such entry, nor may it have one.
    """
    for key in options:
        name = key.partition('.')[0]
        if name not in known:
            near = get_close_matches(name, known, n=1, cutoff=0.75)
            advice = f'; is it {near[0]}?' if near else ''
            raise ConfigError(f'--cfg-options: {path} has no entry {name}{advice}')


def build_runner(cfg: Config) -> 'Runner':
    """The runner of a config, mmengine's where it names none."""
    from mmengine.registry import RUNNERS
    from mmengine.runner import Runner

    return RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)


def end_processes(args: argparse.Namespace) -> None:
    """End the processes of ``--launcher`` together, when all have done their work.

    One that ends while others write results may be taken for a failure, and torchrun then stops
    all. The interpreter's own end is left out: threads of gloo that live on into it sometimes abort
    the process ("terminate called without an active exception").
    """
    import torch
    from mmengine.dist import barrier, is_distributed

    if args.launcher != 'none' and is_distributed():
        barrier()
        torch.distributed.destroy_process_group()
        atexit._run_exitfuncs()  # what others have left for the end, such as loggers
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def log_details(path: str | os.PathLike) -> None:
    """From now on the screen gets the first lines of what is logged, and a file all of it.

    What libraries have printed since :func:`start_tool` goes there too. Of several processes the
    first writes and shows it.

    Args:
        path: Beside the results; made with the first line, one that is there is continued.
    """
    from mmengine.logging import MMLogger

    from ..engine.runners.start_screen import StartScreen

    os.makedirs(osp.dirname(osp.abspath(path)), exist_ok=True)
    to_file = dict(type='WatchedFileHandler', delay=True)
    logger = MMLogger.get_instance(
        f'{path} {time.time_ns()}', log_file=str(path), file_handler_cfg=to_file
    )
    StartScreen(logger).write_remarks()


def run_command(name: str, command: Callable[[], Any]) -> int:
    """Run a tool's work; what a user can mend is one line, without a traceback.

    That is what is wrong with files, data and settings, and a run that stopped itself.

    Args:
        name: Of the tool, for the message.
        command: Does the work.

    Returns:
        int: The exit code of the process: 0, 130 after Ctrl-C, or 2 after an error, as for wrong
        arguments.
    """
    if hasattr(screen := real_stdout(), 'reconfigure'):
        screen.reconfigure(errors='backslashreplace')  # names need not be UTF-8
    try:
        command()
    except KeyboardInterrupt:
        print(f'{name}: interrupted', file=sys.stderr)
        return 130
    except Exception as error:
        mistake, remarks = _mistake(error), take_library_remarks()
        if not mistake and not isinstance(error, USER_ERRORS):
            print(*remarks, sep='\n', end='\n' * bool(remarks), file=sys.stderr)
            raise
        # A data worker's error comes with its traceback, whose last line names the type too.
        text = mistake or (str(error) or repr(error)).splitlines()[-1]
        text = re.sub(r'^[\w.]+Error: ', '', text)
        print(f'{name}: error: {text}', file=sys.stderr)
        return 2
    finally:
        take_library_remarks()  # where the work ended before its first iteration
    return 0


def _mistake(error: Exception) -> str | None:
    """What a user can mend of what torch, mmengine or a class that it builds says; else None."""
    text = str(error.args[0]).strip().rpartition('\n')[2] if error.args else ''
    if isinstance(error, RuntimeError) and text.startswith('DataLoader worker (pid'):
        reason = re.sub(r'^DataLoader worker \(pid(\(s\))? ([\d, ]+)\)', r'process \2', text)
        return (
            f'a data worker ended ({reason.strip(" .")}), as where the system runs out of memory: '
            'fewer num_workers, smaller batches or images'
        )
    if isinstance(error, TypeError) and re.search(
        r'__init__\(\) (got an unexpected keyword|missing \d+ required)', text
    ):
        return f'{text}: look into the config and --cfg-options'
    if isinstance(error, KeyError) and re.search(r'is not in the \S+ registry', text):
        return text.partition(' More details')[0]
    if isinstance(error, ImportError) and 'pip install' in text:
        return text
    return None


def positive(text: str) -> int:
    """A number from 1, for ``argparse``.

    Raises:
        argparse.ArgumentTypeError: It is less.
    """
    return _at_least(1, text)


def not_negative(text: str) -> int:
    """A number from 0, for ``argparse``.

    Raises:
        argparse.ArgumentTypeError: It is less.
    """
    return _at_least(0, text)


def _at_least(least: int, text: str) -> int:
    number = int(text)
    if number < least:
        raise argparse.ArgumentTypeError(f'must be at least {least}, got {text}')
    return number


def split_name(text: str) -> tuple[str | None, str]:
    """Name to show and source of an argument ``NAME=SOURCE``; None for one without a name.

    A source that exists, or with a folder or a colon before its first ``=``, has no name.
    """
    name, equals, source = text.partition('=')
    if not equals or set(name) & {'/', ':'} or osp.exists(text):
        return None, text
    return name, source


def report_unreadable(reasons: Mapping[str, str]) -> str:
    """Name on stderr the images that were left out; the end of a line that counts the others.

    Args:
        reasons: Why each could not be read, by name.
    """
    for name, reason in reasons.items():
        print(f'left out: {name}: {reason}', file=sys.stderr)
    return f', {len(reasons)} could not be read' if reasons else ''


def named_sources(texts: Iterable[str], usual_name: Callable[[str], str] = str) -> dict[str, str]:
    """Sources by name of arguments ``NAME=SOURCE`` or ``SOURCE``.

    Args:
        texts: The arguments.
        usual_name: Gives the name of a source that has none.

    Raises:
        ConfigError: Two sources have the same name.
    """
    sources: dict[str, str] = {}
    for text in texts:
        name, source = split_name(text)
        name = name or usual_name(source)
        if sources.setdefault(name, source) != source:
            raise ConfigError(f'two networks are called {name}: name them, as in A=FILE B=FILE')
    return sources
