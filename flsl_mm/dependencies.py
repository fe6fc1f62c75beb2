"""Checks torch and the OpenMMLab packages before anything imports them."""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from re import match

# Import name -> the oldest version that has what this package uses.
MINIMUM_VERSIONS = {'torch': '2.1', 'mmengine': '0.10.0', 'mmcv': '2.0.0', 'mmpretrain': '1.2.0'}

# Import name -> distributions that fill it: upstream OpenMMLab's first, then OneDL's.
DISTRIBUTIONS = {
    'torch': ('torch',),
    'mmengine': ('mmengine', 'mmengine-lite', 'onedl-mmengine'),
    'mmcv': ('mmcv', 'mmcv-full', 'mmcv-lite', 'onedl-mmcv'),
    'mmpretrain': ('mmpretrain', 'onedl-mmpretrain'),
    'mmdet': ('mmdet', 'onedl-mmdetection'),
    'mmseg': ('mmsegmentation', 'onedl-mmsegmentation'),
}


def check_dependencies() -> None:
    """Checks that the OpenMMLab packages are there, new enough, and of one stack each.

    Reads metadata only, so it costs milliseconds.

    Raises:
        ImportError: Two builds of a package are installed over each other, or a package is missing
            or too old. The message is one line that says which and how to mend it.
    """
    for module, names in DISTRIBUTIONS.items():
        installed = {name: number for name in names if (number := distribution_version(name))}
        if len(installed) > 1:
            found = ' and '.join(f'{name} {number}' for name, number in installed.items())
            raise ImportError(
                f'{found} are both installed and overwrite each other (as {module}): '
                f'run `pip uninstall -y {" ".join(installed)}` and install one of them again'
            )
    lacking = [text for module in MINIMUM_VERSIONS if (text := describe_lack(module))]
    if lacking:
        wanted = ' '.join(
            f'"{module}>={MINIMUM_VERSIONS[module]}"'
            for module in MINIMUM_VERSIONS
            if module != 'torch'
        )
        raise ImportError(
            f'flsl_mm needs {", ".join(lacking)}. `make setup` in a checkout of flsl_mm builds an '
            'environment; into your own, install the OneDL builds (`pip install ".[onedl]"` there) '
            'or upstream OpenMMLab '
            f'(`mim install {wanted}`)'
        )


def describe_lack(module: str) -> str:
    """What is wrong with a required package.

    Args:
        module: A key of ``MINIMUM_VERSIONS``.

    Returns:
        Such as ``mmcv>=2.0.0 (found 1.7.2)``; empty where nothing is wrong.
    """
    minimum = MINIMUM_VERSIONS[module]
    if find_spec(module) is None:
        return f'{module}>={minimum} (not installed)'
    found = next(filter(None, map(distribution_version, DISTRIBUTIONS[module])), None)
    if found is None:  # a source tree on the path has no metadata
        found = import_module(module).__version__
    return '' if release(found) >= release(minimum) else f'{module}>={minimum} (found {found})'


def distribution_version(name: str) -> str | None:
    """The version of an installed distribution, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def release(number: str) -> tuple[int, ...]:
    """The leading numbers of a version: ``2.1.0rc1+cu118`` is ``(2, 1, 0)``."""
    return tuple(map(int, match(r'\d+(?:\.\d+)*', number)[0].split('.')))
