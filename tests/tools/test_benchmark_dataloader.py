"""The benchmark of the image pipeline, on tiny images."""

import json

import pytest
import torch


@pytest.fixture
def tool(load_tool, monkeypatch):
    monkeypatch.setenv('OMP_NUM_THREADS', '1')  # which the tool sets too
    module = load_tool('analysis_tools/benchmark_dataloader')
    threads = torch.get_num_threads()
    yield module
    torch.set_num_threads(threads)


@pytest.mark.parametrize('workers', [0, 1])
def test_the_last_line_is_json(tool, tiny_config, tmp_path, image_folder, capsys, workers):
    config = str(tmp_path / 'tiny.py')
    tiny_config.dump(config)
    options = [f'--workers={workers}', '--images=9', '--batch-size=4', '--repeats=1']
    options += ['--short-side=70'] if workers else []
    assert tool.main([config, f'--data-root={image_folder}', *options]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found['images_per_second'] > 0 and found['plain_images_per_second'] > 0
    assert found['worker_ms'] > 0 and found['device_ms'] > 0 and found['plain_ms'] > 0
    # 64-pixel crops as bytes, against views of 64, 64, 32 and 32 pixels as floats
    assert 3 * 64**2 < found['bytes_per_image'] < 3 * 64**2 + 1000
    assert found['plain_bytes_per_image'] == 4 * 3 * (2 * 64**2 + 2 * 32**2)


@pytest.mark.parametrize('rewritten', [False, True])
def test_files_that_cannot_be_read_are_skipped_and_named_as_in_training(
    tool, tiny_config, tmp_path, image_folder, capsys, rewritten
):
    config, root = str(tmp_path / 'tiny.py'), tmp_path / 'images'
    tiny_config.dump(config)
    root.mkdir()
    for number in (0, 2):
        content = (image_folder / f'class0/{number}.png').read_bytes()
        (root / f'{number}.png').write_bytes(content)
    (root / '1.png').symlink_to(tmp_path / 'gone')
    options = ['--workers=0', '--images=4', '--batch-size=4', '--repeats=1']
    options += ['--short-side=70'] * rewritten
    assert tool.main([config, f'--data-root={root}', *options]) == 0
    skipped = [line for line in capsys.readouterr().out.splitlines() if 'skipped' in line]
    assert len(skipped) == 1 and f'image skipped, cannot be read: {root}/1.png' in skipped[0]


def test_missing_data_are_one_clear_line(tool, project_root, tmp_path, capsys):
    config = str(project_root / 'configs/pretrain/flsl_vit-tiny_demo.py')
    assert tool.main([config, f'--data-root={tmp_path}/none']) == 2
    assert 'data_root is not a folder' in capsys.readouterr().err
