"""One table over frozen tasks on drawn scenes, and over a detector that is fine-tuned."""

import json
from pathlib import Path

import pytest
import torch

from flsl_mm.datasets import scenes
from flsl_mm.models import FLSLVisionTransformer

OPTIONS = [
    *('knn.ks=[3]', 'knn.resize=48', 'knn.crop=48', 'knn.num_workers=0', 'knn.num_shuffles=1'),
    *('davis.short_side=48', 'frozen.short_side=64', 'frozen.num_workers=0'),
]
NUMBERS = {
    'knn': {'top1_k3', 'chance'},
    'davis': {'J&F-Mean', 'J-Mean', 'F-Mean'},
    'frozen': {'retrieval/mIoU', 'clustering/mIoU', 'discovery/CorLoc', 'collapse/RankMe'},
}

# They leave what the real ones do.
TOOLS = {
    'train.py': """
folder = sys.argv[2].partition('=')[2]
with zipfile.ZipFile(folder + '/epoch_1.pth', 'w') as file:
    file.writestr('a', 'b')
""",
    'test.py': """
metrics = {'coco/bbox_mAP': 0.5, 'coco/bbox_mAP_l': -1.0}
with open(sys.argv[4].partition('=')[2], 'w') as file:
    json.dump(dict(metrics=metrics), file)
""",
}


@pytest.fixture(scope='module')
def tool(load_tool):
    return load_tool('compare')


@pytest.fixture
def vit_file(tmp_path):
    """Saves a small ViT with random weights."""

    def save(name: str, img_size: int = 64, num_layers: int = 1, **arch) -> str:
        arch = dict(dict(embed_dims=48, num_heads=3, feedforward_channels=192), **arch)
        vit = FLSLVisionTransformer(dict(arch, num_layers=num_layers), img_size=img_size)
        vit.init_weights()
        torch.save(dict(state_dict=vit.state_dict(), meta=dict(num_heads=3)), tmp_path / name)
        return str(tmp_path / name)

    return save


@pytest.fixture
def data(tmp_path) -> list[str]:
    """Small scenes in three layouts, as arguments."""
    scenes.write_imagenet(tmp_path / 'imagenet', num_train=12, num_val=6, side=48)
    scenes.write_davis(tmp_path / 'davis', num_val=1, num_frames=4, size=(64, 48))
    scenes.write_ade20k(tmp_path / 'ade', num_train=3, num_val=2, size=(64, 64))
    roots = [
        f'--{n}={tmp_path / f}'
        for n, f in zip(('imagenet', 'davis', 'dense'), ('imagenet', 'davis', 'ade'))
    ]
    return [*roots, '--device=cpu', f'--work-dir={tmp_path / "work"}']


def test_networks_stand_in_one_table_and_nothing_is_computed_twice(
    tool, vit_file, data, tmp_path, capsys, monkeypatch
):
    files = [vit_file('a.pth'), vit_file('b.pth')]
    arguments = ['--checkpoints', *files, *data, '--cfg-options', *OPTIONS]
    assert tool.main(arguments) == 0
    table = capsys.readouterr().out[-2000:]
    content = json.loads((tmp_path / 'work/compare.json').read_text())
    for file in files:
        for task, names in NUMBERS.items():
            numbers = content['results'][file][task]
            assert names <= set(numbers)
            for name in names:
                assert f'{numbers[name]:.2f}' in table

    asked = []
    monkeypatch.setattr(
        tool,
        'run_tasks',
        lambda tasks, networks, device: (
            asked.append((tasks[0].name, *networks)) or {n: {'x': {}} for n in networks}
        ),
    )
    assert tool.main(arguments) == 0 and not asked
    assert capsys.readouterr().out.splitlines()[-5:] == table.splitlines()[-5:]
    Path(files[1]).touch()  # another network, as far as one can tell
    assert tool.main([*arguments, 'davis.topk=1']) == 0
    assert asked == [('davis', files[0]), *((t, files[1]) for t in ('knn', 'davis', 'dense'))]


@pytest.mark.slow
def test_a_detector_is_fine_tuned_and_tested_by_the_tools(
    tool, vit_file, shrink_coco, tmp_path, capsys
):
    pytest.importorskip('mmdet')
    cfg = shrink_coco('mask-rcnn_flsl-vits16_fpn_1x_coco')
    cfg.dump(tmp_path / 'detector.py')
    file = vit_file('vit.pth', img_size=cfg.model.backbone.img_size, num_layers=4)
    arguments = [
        *('--tasks', 'coco', '--checkpoints', file, '--device=cpu'),
        *(f'--coco-config={tmp_path / "detector.py"}', f'--work-dir={tmp_path / "work"}'),
    ]
    assert tool.main(arguments) == 0
    found = json.loads((tmp_path / 'work/compare.json').read_text())['results'][file]['coco']
    assert -100 <= found['bbox_mAP'] <= 100 and 'segm_mAP' in found
    [folder] = (tmp_path / 'work/coco').iterdir()
    assert (folder / 'epoch_1.pth').is_file()
    assert 'Loaded pretrained weights' in (folder / 'run_output.log').read_text()
    assert file in capsys.readouterr().out


def test_the_data_of_the_dense_tasks_may_be_a_config(tool, vit_file, data, tmp_path):
    folders = {
        name: str(tmp_path / 'ade' / name / 'validation') for name in ('images', 'annotations')
    }
    masks = dict(type='MaskFolder', images=folders['images'], masks=folders['annotations'])
    found = []
    for reduce in (False, True):
        config = tmp_path / 'dense.py'
        config.write_text(f'val = {dict(masks, reduce_zero_label=reduce, num_classes=11)!r}\n')
        command = ['--tasks', 'frozen', '--checkpoints', vit_file('a.pth'), *data]
        assert tool.main([*command, f'--dense={config}', '--cfg-options', *OPTIONS[-2:]]) == 0
        [result] = json.loads((tmp_path / 'work/compare.json').read_text())['results'].values()
        found.append(result['frozen']['retrieval/aAcc'])
    assert found[0] != found[1]  # 0 is a class, or is not


def test_a_detector_of_another_config_or_file_is_not_taken(
    tool, vit_file, tmp_path, capsys, monkeypatch
):
    tools = tmp_path / 'tools'
    tools.mkdir()
    for name, lines in TOOLS.items():
        (tools / name).write_text(f'import json, sys, zipfile\n{lines}')
    monkeypatch.setattr(tool, 'TOOLS', tools)
    config = tmp_path / 'detector.py'
    config.write_text('train_cfg = dict(max_epochs=1)\n')
    file = vit_file('vit.pth')
    arguments = [
        *('--tasks', 'coco', '--checkpoints', file, '--device=cpu'),
        *(f'--coco-config={config}', f'--work-dir={tmp_path / "work"}'),
    ]
    assert tool.main(arguments) == 0 and tool.main(arguments) == 0
    assert '50.00' in capsys.readouterr().out
    found = json.loads((tmp_path / 'work/compare.json').read_text())['results'][file]['coco']
    assert found == dict(bbox_mAP=50.0, bbox_mAP_l=None)  # nothing large to be found
    config.write_text('train_cfg = dict(max_epochs=1)\nlr = 2\n')
    assert tool.main(arguments) == 2
    assert 'holds a run with other entries of the config' in capsys.readouterr().err
    config.write_text('train_cfg = dict(max_epochs=1)\n')
    vit_file('vit.pth', num_layers=2)
    assert tool.main(arguments) == 2
    assert 'holds a run with other files to start from' in capsys.readouterr().err


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--cfg-options', 'dino.k=1'], "start with a task (knn, davis, frozen, coco), not 'dino'"),
        (['--cfg-options', 'knn.kk=1'], "unexpected keyword argument 'kk'"),
        (['--imagenet=nowhere'], 'nowhere'),
        (['--imagenet=nowhere', '--checkpoints', 'missing.pth'], 'missing.pth: no such file'),
    ],
)
def test_what_is_wrong_is_one_line(tool, vit_file, data, capsys, arguments, message):
    command = ['--checkpoints', vit_file('a.pth'), *data, *arguments, '--tasks', 'knn']
    try:
        code = tool.main(command)
    except SystemExit as error:  # argparse
        code = error.code
    assert code == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert 'error: ' in error and message in error


def test_two_detectors_never_share_a_folder(tool, vit_file, tmp_path, capsys):
    config = tmp_path / 'detector.py'
    config.write_text('train_cfg = dict(max_epochs=1)\n')
    file = vit_file('vit.pth')
    same = f'{Path(file).parent}//{Path(file).name}'
    arguments = ['--tasks', 'coco', '--checkpoints', file, same, '--device=cpu']
    assert tool.main([*arguments, f'--coco-config={config}', f'--work-dir={tmp_path / "w"}']) == 2
    assert 'would share' in capsys.readouterr().err
