"""The layout explains itself: a name means one thing, and a module says what it is about."""

import ast
import re
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
MODULES = {
    str(path.relative_to(ROOT)): ast.parse(path.read_text())
    for folder in ('flsl_mm', 'tools')
    for path in sorted(ROOT.glob(f'{folder}/**/*.py'))
}
# The same meaning everywhere: the parts of every tool (docs/contributing.md).
SKELETON = {'main', 'parse_args', 'build_parser', 'measure'}
# Two forms of the same operations, for a batch and for one image.
TWINS = {
    'adjust_hue',
    'gaussian_blur',
    'solarize',
}


def test_no_two_functions_or_classes_have_one_name():
    places = defaultdict(list)
    for path, tree in MODULES.items():
        for node in tree.body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                places[node.name].append(path)
    shared = {name: paths for name, paths in places.items() if len(paths) > 1}
    assert {n: p for n, p in shared.items() if n not in SKELETON | TWINS} == {}
    assert TWINS <= shared.keys()


def test_a_module_names_its_subject_in_its_first_line():
    firsts = {p: (ast.get_docstring(t) or '').partition('\n')[0] for p, t in MODULES.items()}
    assert {p: line for p, line in firsts.items() if not re.fullmatch(r'\S+ .+\.', line)} == {}


def test_a_package_lists_what_it_re_exports():
    for path, tree in MODULES.items():
        if path.endswith('__init__.py') and any(isinstance(n, ast.ImportFrom) for n in tree.body):
            names = {n.id for node in tree.body for n in ast.walk(node) if isinstance(n, ast.Name)}
            assert '__all__' in names, path
