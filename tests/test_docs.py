"""What README.md and docs/ tell a reader to type exists, and some test runs it."""

import argparse
import ast
import functools
import importlib.util
import inspect
import re
import shlex
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path
from typing import NamedTuple

import pytest
from mmengine import registry
from mmengine.config import Config

import flsl_mm
from flsl_mm import models
from flsl_mm.registry import FROZEN_TASKS

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / 'README.md', *ROOT.glob('docs/[!_]*.md'), *ROOT.glob('docs/*/README.md')])

# The page of an example outside the repository, whose commands tests/test_plugin.py runs there.
PLUGIN = ROOT / 'docs/plugin_example/README.md'

# The test that runs a tool, on data that it makes, is named after it; but for these.
TESTED_BY = {
    'tools/dataset_converters/uavdt2coco.py': 'test_uavdt',
    'tools/dist_test.sh': 'test_shell_scripts',
    'tools/dist_train.sh': 'test_shell_scripts',
    'tools/eval_uavdt.py': 'test_uavdt',
    'tools/slurm_test.sh': 'test_shell_scripts',
    'tools/slurm_train.sh': 'test_shell_scripts',
}
# Commands of others: installing, shells, viewers. No test runs them; what they name of ours exists.
OTHERS = {'source', 'export', 'pip', 'apt', 'ln', 'srun', 'rm', 'tensorboard', 'pre-commit'}

# What a `--cfg-options` is for, where the command names no config.
DEFAULTS = [
    'configs/pretrain/flsl_vits16_300e.py',
    'configs/pretrain/post/flsl_any_25e.py',
    'configs/coco/mask-rcnn_flsl-vits16_fpn_1x_coco.py',
    'configs/uavdt/faster-rcnn_flsl-vits16_fpn_1x_uavdt.py',
    'configs/ade20k/sem-fpn_flsl-vits16_40k_ade20k-512x512.py',
    'configs/ade20k/knn_flsl-vits16_1e_ade20k-512x512.py',
]
CONFIG_KEY = re.compile(
    r'(model|(train|val|test)_(dataloader|evaluator)|default_hooks|optim_wrapper|param_scheduler|'
    r'train_cfg|visualizer|randomness)(\.\w+)+(=\S+)?'
)
# What stands for the reader's own: see "Documentation" in docs/contributing.md.
STAND_IN = re.compile(
    r'(.*[=/])?[A-Z][A-Z_]+\d*|(.*=)?/(my|data)/.*|photos/|davis/.*|(.*=)?data/.*|work_dirs/.*|'
    r'.*\.(pth|safetensors|txt|json)'
)


class Command(NamedTuple):
    """A command on a page: what is run, and its arguments."""

    page: str
    text: str
    program: str
    arguments: list[str]


def code_blocks(text: str) -> list[tuple[str, list[str]]]:
    """Language ('' where none is named) and lines of the fenced and indented blocks."""
    blocks, fence, previous = [], None, ''
    for line in text.splitlines():
        if line.lstrip().startswith('```'):
            fence = None if fence is not None else line.strip().strip('`')
            if fence is not None:
                blocks.append((fence, []))
        elif fence is not None:
            blocks[-1][1].append(line.strip())
        elif line.startswith('    ') and line.strip():
            if not previous.startswith('    '):
                if previous.strip():
                    continue  # the rest of a list's item
                blocks.append(('', []))
            blocks[-1][1].append(line.strip())
        previous = line
    return blocks


def parse_command(page: str, text: str) -> Command | None:
    """The command in a line of code, None if the line is none."""
    plain = re.sub(r'(?<=\s)\[(--[^]]*)\]', r'\1', text)  # an optional argument
    plain = re.sub(r'(?<=\s)\[[^]]*\]', '', plain)  # what else may follow
    plain = re.sub(r'\{([^,}]*),[^}]*\}', r'\1', plain)  # the first of several
    try:
        words = shlex.split(plain, comments=True)
    except ValueError:
        return None
    while words and re.match(r'[A-Z_]+=', words[0]):
        words = words[1:]
    # 'DOTS' is some other value; after KEY=VALUE only more of the same can follow
    words = ['DOTS' if word == '...' else word.removesuffix('...') for word in words]
    words = [w for i, w in enumerate(words) if w != 'DOTS' or i == 0 or '=' not in words[i - 1]]
    if words[:1] == ['torchrun']:
        start = next((i for i, word in enumerate(words) if word.startswith('tools/')), len(words))
        words = ['python', *words[start:]]
    if words[:1] == ['python'] and len(words) > 1 and words[1].endswith('.py'):
        words = words[1:]
    if not words:
        return None
    program = words[0].removeprefix('.venv/bin/')
    known = program in {'make', 'python'} | OTHERS or re.fullmatch(
        r'(tools|docs)/.*\.(py|sh)', program
    )
    return Command(page, text, program, words[1:]) if known else None


@functools.cache
def commands(path: Path) -> list[Command]:
    """The commands on a page, in blocks of code and in the text."""
    text, lines = path.read_text(), []
    for language, block in code_blocks(text):
        if language in ('', 'bash'):
            lines += re.sub(r'\\\n', ' ', '\n'.join(block)).split('\n')
    prose = re.sub(r'```.*?```', '', text, flags=re.DOTALL)
    lines += [
        span for span in re.findall(r'`([^`\n]+)`', prose) if ' ' in span and span[0] in 'mptT'
    ]
    found = [parse_command(path.name, line) for line in lines]
    return [command for command in found if command]


ALL = [command for page in PAGES if page != PLUGIN for command in commands(page)]
OURS = [command for command in ALL if command.program.startswith('tools/')]


class Parsed(Exception):  # noqa: N818
    """Carries a tool's parser out of the tool."""


@functools.cache
def parser_of(tool: str) -> argparse.ArgumentParser:
    """The parser with which a tool reads its arguments; the tool does nothing else."""

    def stop(parser, *_, **__):
        raise Parsed(parser)

    spec = importlib.util.spec_from_file_location(f'docs_{Path(tool).stem}', ROOT / tool)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str((ROOT / tool).parent))
        patch.setattr(argparse.ArgumentParser, 'parse_args', stop)
        patch.setattr(sys, 'argv', [tool])
        spec.loader.exec_module(module)
        with pytest.raises(Parsed) as caught:
            module.main()
    return caught.value.args[0]


def tool_and_arguments(command: Command) -> tuple[str, list[str]]:
    """The Python tool behind a command, and what it gets."""
    tool, words = command.program, command.arguments
    if tool.endswith('.sh'):
        files = 2 if 'test' in tool else 1  # config, and checkpoint
        # partition and name of the job come first, or the number of processes after the files
        words = words[2:] if 'slurm' in tool else words[:files] + words[files + 1 :]
        tool = 'tools/test.py' if 'test' in tool else 'tools/train.py'
    if tool == 'tools/visualize.py' and words[0] == 'KIND':
        words = ['ass', *words[1:]]
    return tool, ['1' if re.fullmatch('[A-Z]', word) else word for word in words]


def parse(command: Command, capsys) -> argparse.Namespace | str:
    """The arguments as the tool reads them, or what it says about them."""
    tool, words = tool_and_arguments(command)
    try:
        return parser_of(tool).parse_args(words)
    except SystemExit:
        return f'{command.page}: {command.text}\n  {capsys.readouterr().err.splitlines()[-1]}'


@functools.cache
def read_config(path: str) -> Config:
    """A config file of the project."""
    return Config.fromfile(ROOT / path)


def parameters_of(node: type) -> set[str]:
    """Arguments of a class, with those it hands to its parents."""
    return {name for cls in node.__mro__ for name in inspect.signature(cls.__init__).parameters}


def accepts(node, key: str) -> bool:
    """Whether a config part has a key, or its type an argument of that name."""
    if key in node:
        return True
    kind, roots = node.get('type'), ('MODELS', 'DATASETS', 'HOOKS', 'METRICS', 'OPTIM_WRAPPERS')
    for root in (*roots, 'PARAM_SCHEDULERS', 'VISBACKENDS', 'TRANSFORMS'):
        for scope in ('', 'mmpretrain.', 'mmdet.', 'mmseg.'):
            found = kind and getattr(registry, root).get(f'{scope}{kind}')
            if found:
                # or one that its docstring hands on to another class
                return key in parameters_of(found) or f'``{key}``' in found.__doc__
    return False


def has_key(cfg: Config, dotted: str) -> bool:
    """Whether a setting exists in a config."""
    node = cfg
    for part in dotted.split('.'):
        if isinstance(node, (list, tuple)):
            node = node[int(part)]
        elif part in node:
            node = node[part]
        else:
            return accepts(node, part)
    return True


def is_setting(args: argparse.Namespace, tool: str, key: str) -> bool:
    """Whether a key of ``--cfg-options`` is one for this command."""
    if tool in ('tools/compare.py', 'tools/eval_frozen.py'):
        task, key = key.split('.', 1)
        if task == 'coco':
            return has_key(read_config(DEFAULTS[1]), key)
        config = args.config if args.config.startswith('configs/') else 'configs/frozen/all.py'
        cls = FROZEN_TASKS.get(read_config(config)[task].type)
        return key.split('.')[0] in parameters_of(cls)
    config = getattr(args, 'config', None)
    known = [config] if config and (ROOT / config).is_file() else DEFAULTS
    return any(has_key(read_config(path), key) for path in known)


def test_the_pages_have_commands():
    assert len(OURS) > 50 and len({command.program for command in OURS}) > 15


def test_every_tool_and_argument_in_the_docs_exists(capsys):
    absent = [c.text for c in OURS if not (ROOT / c.program).is_file()]
    assert not absent
    wrong = [found for c in OURS if isinstance(found := parse(c, capsys), str)]
    assert not wrong, '\n'.join(wrong)


def test_every_setting_in_a_command_exists(capsys):
    wrong = []
    for command in OURS:
        args = parse(command, capsys)
        options = getattr(args, 'cfg_options', None) or ()
        replaced = tuple(k.removesuffix('_delete_') for k in options if k.endswith('._delete_'))
        for key in options:
            if not key.startswith(replaced) and not is_setting(
                args, tool_and_arguments(command)[0], key
            ):
                wrong.append(f'{command.page}: {key}')
    assert not wrong


def test_every_setting_in_the_text_exists():
    wrong = []
    for page in PAGES:
        for span in re.findall(r'`([^`\n]+)`', page.read_text()):
            for word in span.split():
                if not CONFIG_KEY.fullmatch(word):
                    continue
                key = word.split('=')[0]
                if not any(has_key(read_config(path), key) for path in DEFAULTS):
                    wrong.append(f'{page.name}: {key}')
    assert not wrong


def test_every_file_of_the_project_that_is_named_exists():
    wrong = []
    for page in PAGES:
        for path in re.findall(
            r'(?:configs|tools|tests|docs|flsl_mm)/[\w./{},-]*[\w}]/?', page.read_text()
        ):
            path = re.sub(r'\{([^,}]*),[^}]*\}', r'\1', path)
            if not (ROOT / path).exists() and not path.startswith('flsl_mm/wheels'):
                wrong.append(f'{page.name}: {path}')
    assert not wrong


def test_every_tool_in_the_docs_is_run_by_its_test():
    for tool in {command.program for command in OURS}:
        name = TESTED_BY.get(tool, f'test_{Path(tool).stem}')
        tests = ROOT.glob(f'tests/**/{name}.py')
        assert any(Path(tool).stem in test.read_text() for test in tests), tool


def needs_data(command: Command) -> bool:
    """Whether a command shows that it needs a data set or something of the reader's."""
    if any(STAND_IN.fullmatch(word) for word in command.arguments):
        return True
    config = next((word for word in command.arguments if word.startswith('configs/')), None)
    loader = (
        read_config(config).get('train_dataloader') if config and config.endswith('.py') else None
    )
    root = loader.dataset.get('data_root', '') if loader else ''
    page = ROOT / ('README.md' if command.page == 'README.md' else f'docs/{command.page}')
    return root.startswith('data/') and (root in page.read_text() or command.page == 'README.md')


# Make what they work on. Their tests run them, with smaller numbers where those here take long.
SELF_CONTAINED = {
    'docs/draw_architecture.py',
    'tools/analysis_tools/benchmark_backbone.py',
    'tools/analysis_tools/benchmark_coco.py',
    'tools/analysis_tools/benchmark_davis.py',
    'tools/analysis_tools/benchmark_pretrain.py',
    'tools/analysis_tools/benchmark_startup.py',
    'tools/dataset_converters/make_scenes.py',
    'tools/demo.py',
}


def test_commands_that_need_data_show_it():
    scripts = [command for command in ALL if command.program.endswith(('.py', '.sh'))]
    unmarked = [c for c in scripts if c.program not in SELF_CONTAINED and not needs_data(c)]
    assert not unmarked


def test_make_pytest_and_pip_name_what_exists():
    targets = set(re.findall(r'^([a-z]+):', (ROOT / 'Makefile').read_text(), flags=re.MULTILINE))
    setup = ConfigParser()
    setup.read(ROOT / 'setup.cfg')
    extras = set(setup['options.extras_require'])
    for command in ALL:
        words = command.arguments
        if command.program == 'make':
            assert {word for word in words if '=' not in word} <= targets, command
        if command.program == 'python' and words[:2] == ['-m', 'pytest']:
            assert all((ROOT / word).exists() for word in words if word.startswith('tests')), (
                command
            )
        if command.program == 'pip':
            for listed in re.findall(r'\.\[([\w,]+)\]', command.text):
                assert set(listed.split(',')) <= extras, command


def test_python_in_the_docs_imports_what_exists():
    for page in PAGES:
        for module, names in re.findall(r'from (flsl_mm[\w.]*) import ([\w, ]+)', page.read_text()):
            found = importlib.import_module(module)
            for name in names.split(','):
                assert hasattr(found, name.strip()), f'{page.name}: {module}.{name.strip()}'


def test_links_between_pages_lead_somewhere():
    for page in [*PAGES, *ROOT.glob('configs/*/README.md')]:
        for target in re.findall(r'\]\(([^)#\s]+)(?:#[\w-]+)?\)', page.read_text()):
            assert '://' in target or (page.parent / target).exists(), f'{page}: {target}'


def test_every_page_is_in_the_index():
    listed = set(
        re.findall(r'^   ([\w/]+)$', (ROOT / 'docs/index.rst').read_text(), flags=re.MULTILINE)
    )
    pages = {str(page.relative_to(ROOT / 'docs').with_suffix('')) for page in PAGES[1:]} | {'api'}
    assert listed == pages


def test_options_are_the_arguments_of_their_classes():
    text = (ROOT / 'docs/options.md').read_text()
    sections = re.findall(
        r'^## (\w+): `model[.\w]*`\n(.*?)(?=^## )', text, flags=re.DOTALL | re.MULTILINE
    )
    assert [name for name, _ in sections] == [
        'MeanShiftNeck', 'FLSLHead', 'FLSL', 'FLSLVisionTransformer', 'MultiViewPreprocessor',
    ]  # fmt: skip
    for name, section in sections:
        cells = re.findall(r'^\| (`[^|]*) \|', section, flags=re.MULTILINE)
        shown = {option for cell in cells for option in re.findall(r'`(\w+)`', cell)}
        cls = getattr(models, name)
        assert shown <= parameters_of(cls), name
        own = set(inspect.signature(cls.__init__).parameters) - {'self', 'kwargs', 'init_cfg'}
        missing = (
            own - shown - {'backbone', 'neck', 'head', 'out_type', 'mean', 'std', 'non_blocking'}
        )
        assert not missing, f'{name} in docs/options.md lacks {missing}'


@functools.cache
def strings_of_the_code() -> str:
    """All text in the code, with what is filled in replaced by '...'."""
    texts = [(ROOT / 'Makefile').read_text()]
    for path in [*ROOT.glob('flsl_mm/**/*.py'), *ROOT.glob('tools/**/*.py')]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = [v.value if isinstance(v, ast.Constant) else '...' for v in node.values]
                texts.append(''.join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return '\n'.join(texts)


def test_every_message_in_troubleshooting_is_one_of_the_code():
    others = ('No module named', 'libGL', 'is not in the', 'CUDA out of', 'Address already', '(mm')
    others += ('No space left', 'SyntaxError: Failed to format')
    others += ('ERROR: No matching', 'ERROR: Cannot install')  # pip's own
    known, wrong = strings_of_the_code(), []
    rows = re.findall(
        r'^\| (.*?) \| ', (ROOT / 'docs/troubleshooting.md').read_text(), flags=re.MULTILINE
    )
    for row in rows[1:]:
        for message in re.findall(r'``(.+?)``|`([^`]+)`', row):
            if any(text in row for text in others):
                continue
            fragments = re.split(r'\.\.\.|\b[ABX]\b|\b\d+\b', ''.join(message))
            fragments = [f.strip(' :,()') for f in fragments]
            wrong += [f for f in fragments if len(f) > 5 and f not in known]
    assert len(rows) > 80 and not wrong


def test_the_picture_of_the_architecture_is_the_drawn_one(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location('draw', ROOT / 'docs/draw_architecture.py')
    draw = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(draw)
    (tmp_path / 'images').mkdir()
    monkeypatch.setattr(draw, '__file__', str(tmp_path / 'draw_architecture.py'))
    draw.main()
    drawn = (tmp_path / 'images/architecture.svg').read_text()
    committed = (ROOT / 'docs/images/architecture.svg').read_text()
    texts = re.compile(r'<text[^>]*>(.*?)</text>')
    assert texts.findall(drawn) == texts.findall(committed) and 'MeanShiftNeck' in drawn


def test_the_documentation_builds_without_a_warning(tmp_path):
    for name in ('sphinx', 'myst_parser', 'furo'):
        pytest.importorskip(name)
    command = [sys.executable, '-m', 'sphinx', '-W', '--keep-going', '-q', 'docs', str(tmp_path)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert flsl_mm.__version__ in (tmp_path / 'index.html').read_text()
