"""Puts configs, tools and the model index into the wheel as ``flsl_mm/.mim``, where mim looks.

Everything else about the package is in setup.cfg.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
PARTS = ('configs', 'tools', 'model-index.yml', 'constraints.txt')


class BuildWithMim(build_py):
    """``build_py`` that adds what OpenMMLab packages carry beside their modules."""

    def run(self) -> None:
        """Build the modules; outside an editable installation add ``.mim``."""
        super().run()
        if self.editable_mode:  # the checkout has the originals
            return
        target = Path(self.build_lib) / 'flsl_mm' / '.mim'
        shutil.rmtree(target, ignore_errors=True)
        for part in PARTS:
            source = ROOT / part
            if source.is_dir():
                shutil.copytree(
                    source, target / part, ignore=shutil.ignore_patterns('__pycache__', '*.pyc')
                )
            else:
                target.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target / part)


setup(cmdclass=dict(build_py=BuildWithMim))
