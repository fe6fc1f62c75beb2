import os
import subprocess
import sys

from PIL import Image


def test_the_demo_trains_and_draws(project_root, tmp_path):
    command = [sys.executable, 'tools/demo.py', f'--work-dir={tmp_path}', '--epochs=1']
    environment = {**os.environ, 'PYTHONPATH': str(project_root), 'OMP_NUM_THREADS': '1'}
    result = subprocess.run(
        command, cwd=project_root, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert 'prototypes_used' in result.stdout
    picture = Image.open(tmp_path / 'similarity.png')
    assert picture.width > 500 and len(picture.convert('L').histogram()) > 100
