"""What the package asks of an environment that others have made."""

import configparser
import re

import pytest


def name_of(requirement: str) -> str:
    """The project named in a requirement."""
    return re.match(r'[\w.-]+', requirement)[0].lower().replace('_', '-')


@pytest.fixture(scope='module')
def setup_cfg(project_root):
    parser = configparser.ConfigParser()
    parser.read(project_root / 'setup.cfg')
    return parser


@pytest.fixture(scope='module')
def constraint_lines(project_root):
    lines = (project_root / 'constraints.txt').read_text().splitlines()
    return [line for line in lines if line and not line.startswith('#')]


def test_plain_installation_leaves_torch_and_mm_packages_alone(setup_cfg):
    required = {name_of(line) for line in setup_cfg['options']['install_requires'].split()}
    # timm and torchvision require torch; OpenCV's builds overwrite each other.
    forbidden = re.compile(r'torch|timm|openmim|(onedl-)?mm|opencv')
    assert required
    assert not [name for name in required if forbidden.match(name)]


def test_every_dependency_is_pinned(setup_cfg, constraint_lines):
    extras = dict(setup_cfg['options.extras_require'])
    lines = ' '.join([setup_cfg['options']['install_requires'], *extras.values()]).split()
    assert {name_of(line) for line in lines} <= {name_of(line) for line in constraint_lines}


def test_every_pin_is_exact_and_has_its_reason(constraint_lines):
    pattern = re.compile(r'[\w-]+==[\w.]+ +# \w.{10,}')
    assert not [line for line in constraint_lines if not pattern.fullmatch(line)]


def test_pins_satisfy_the_bounds_in_setup_cfg(setup_cfg, constraint_lines):
    from packaging.requirements import Requirement

    pins = dict(line.split()[0].split('==') for line in constraint_lines)
    for extra in setup_cfg['options.extras_require'].values():
        for requirement in map(Requirement, extra.split()):
            assert requirement.specifier.contains(pins[requirement.name]), requirement


def test_the_version_is_the_one_that_setuptools_reads(setup_cfg):
    import flsl_mm

    assert setup_cfg['metadata']['version'] == 'attr: flsl_mm.version.__version__'
    assert re.fullmatch(r'\d+\.\d+\.\d+', flsl_mm.__version__)
