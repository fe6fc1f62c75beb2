"""One table over frozen tasks on drawn scenes, and over a detector that is fine-tuned."""

import json
import re
from pathlib import Path

import pytest
import torch

from flsl_mm.datasets import scenes
from flsl_mm.models import FLSLVisionTransformer

OPTIONS = [
    *('knn.ks=3', 'knn.resize=48', 'knn.crop=48', 'knn.num_workers=0', 'knn.num_shuffles=1'),
    *('knn.cache_dir=None', 'davis.out_dir=None', 'davis.short_side=48'),
    *('dense.short_side=64', 'dense.num_workers=0'),
]
NUMBERS = {
    'knn': {'top1_k3', 'chance'},
    'davis': {'J&F-Mean', 'J-Mean', 'F-Mean'},
    'dense': {'retrieval/mIoU', 'clustering/mIoU', 'discovery/CorLoc', 'collapse/RankMe'},
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
    json.dump(dict(metrics=metrics, images=5), file)
""",
}


@pytest.fixture(scope='module')
def tool(load_tool):
    return load_tool('compare')


@pytest.fixture(scope='module')
def config(project_root) -> str:
    return str(project_root / 'configs/frozen/all.py')


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
    """Small scenes in three layouts, as arguments that end with options."""
    scenes.write_imagenet(tmp_path / 'imagenet', num_train=12, num_val=6, side=48)
    scenes.write_davis(tmp_path / 'davis', num_val=1, num_frames=4, size=(64, 48))
    scenes.write_ade20k(tmp_path / 'ade', num_train=3, num_val=2, size=(64, 64))
    folders = dict(knn='imagenet', davis='davis', dense='ade')
    roots = [f'{task}.data_root={tmp_path / folder}' for task, folder in folders.items()]
    common = ['--device=cpu', f'--work-dir={tmp_path / "work"}']
    return [*common, '--cfg-options', *roots, *OPTIONS]


def test_networks_stand_in_one_table_and_nothing_is_computed_twice(
    tool, config, vit_file, data, tmp_path, capsys, monkeypatch
):
    files = [vit_file('a.pth'), vit_file('b.pth')]
    arguments = [config, files[0], f'B={files[1]}', *data]
    assert tool.main(arguments) == 0
    table = capsys.readouterr().out[-2000:]
    content = json.loads((tmp_path / 'work/compare.json').read_text())
    knn = r'\(knn: 6 images of \d+ classes, learned from 12 images of \d+ classes; '
    assert re.search(
        knn + r'davis: 1 sequence, \d objects?; dense: 2 images, learned from 3', table
    )
    assert content['results']['B']['dense']['data'] == '2 images, learned from 3'
    names_shown = [files[0], 'B']
    for file in names_shown:
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
            asked.append((*tasks, *networks)) or {n: {t: {} for t in tasks} for n in networks}
        ),
    )
    assert tool.main(arguments) == 0 and not asked
    assert capsys.readouterr().out.splitlines()[-6:] == table.splitlines()[-6:]
    Path(files[1]).touch()  # another network, as far as one can tell
    assert tool.main([*arguments, 'davis.topk=1']) == 0
    assert asked == [('davis', files[0]), *((t, 'B') for t in ('knn', 'davis', 'dense'))]


def test_commands_with_other_tasks_share_a_file_of_numbers(
    tool, config, vit_file, data, tmp_path, capsys
):
    files, numbers = [vit_file('a.pth'), vit_file('b.pth')], tmp_path / 'work/compare.json'

    def compare(*arguments: str) -> tuple[dict, str]:
        assert tool.main([config, *arguments]) == 0
        return json.loads(numbers.read_text()), capsys.readouterr().out

    davis, _ = compare(f'A={files[0]}', '--tasks', 'davis', *data)
    both, printed = compare(f'A={files[0]}', f'B={files[1]}', '--tasks', 'dense', *data)
    assert 'beside what it has of davis by other commands' in printed
    assert both['results']['A']['davis'] == davis['results']['A']['davis']
    assert {n: set(found) for n, found in both['results'].items()} == {
        'A': {'davis', 'dense'},
        'B': {'dense'},
    }
    assert set(both['settings']) == {'davis', 'dense'}
    # What would stand under settings or a name that are no longer its own is named and left out.
    changed, printed = compare(f'B={files[1]}', '--tasks', 'davis', *data, 'davis.topk=1')
    assert 'davis of A is left out, for its settings changed' in printed
    assert set(changed['results']['A']) == {'dense'}
    changed, printed = compare(f'A={files[1]}', '--tasks', 'davis', *data, 'davis.topk=1')
    assert 'dense of A is left out, for the checkpoint changed' in printed
    numbers.write_text('{"images": 3}')
    assert tool.main([config, files[0], '--tasks', 'davis', *data]) == 2
    assert 'something else than numbers of compare.py' in capsys.readouterr().err


@pytest.mark.slow
def test_a_detector_is_fine_tuned_and_tested_by_the_tools(
    tool, config, vit_file, shrink_coco, tmp_path, capsys
):
    pytest.importorskip('mmdet')
    cfg = shrink_coco('mask-rcnn_flsl-vits16_fpn_1x_coco')
    cfg.dump(tmp_path / 'detector.py')
    file = vit_file('vit.pth', img_size=cfg.model.backbone.img_size, num_layers=4)
    arguments = [
        *(config, file, '--tasks', 'coco', '--device=cpu'),
        *(f'--coco-config={tmp_path / "detector.py"}', f'--work-dir={tmp_path / "work"}'),
    ]
    assert tool.main(arguments) == 0
    found = json.loads((tmp_path / 'work/compare.json').read_text())['results'][file]['coco']
    assert -100 <= found['bbox_mAP'] <= 100 and 'segm_mAP' in found
    [folder] = (tmp_path / 'work/coco').iterdir()
    assert (folder / 'epoch_1.pth').is_file()
    assert 'Loaded pretrained weights' in (folder / 'run_output.log').read_text()
    assert file in capsys.readouterr().out


def test_a_detector_of_another_config_or_file_is_not_taken(
    tool, config, vit_file, tmp_path, capsys, monkeypatch
):
    tools = tmp_path / 'tools'
    tools.mkdir()
    for name, lines in TOOLS.items():
        (tools / name).write_text(f'import json, sys, zipfile\n{lines}')
    monkeypatch.setattr(tool, 'TOOLS', tools)
    detector = tmp_path / 'detector.py'
    detector.write_text('train_cfg = dict(max_epochs=1)\n')
    file = vit_file('vit.pth')
    arguments = [
        *(config, file, '--tasks', 'coco', '--device=cpu'),
        *(f'--coco-config={detector}', f'--work-dir={tmp_path / "work"}'),
    ]
    assert tool.main(arguments) == 0 and tool.main(arguments) == 0
    assert '50.00' in capsys.readouterr().out
    found = json.loads((tmp_path / 'work/compare.json').read_text())['results'][file]['coco']
    assert found == dict(
        bbox_mAP=50.0, bbox_mAP_l=None, data='5 images'
    )  # nothing large to be found
    detector.write_text('train_cfg = dict(max_epochs=1)\nlr = 2\n')
    assert tool.main(arguments) == 2
    assert 'holds a run with other entries of the config' in capsys.readouterr().err
    detector.write_text('train_cfg = dict(max_epochs=1)\n')
    vit_file('vit.pth', num_layers=2)
    assert tool.main(arguments) == 2
    assert 'holds a run with other files to start from' in capsys.readouterr().err


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['dino.k=1'], 'has no entry dino'),
        (['knn.kk=1'], "unexpected keyword argument 'kk'"),
        (['knn.data_root=nowhere'], 'nowhere'),
        (['--tasks', 'frozen'], '--tasks are some of knn, davis, dense, coco, not frozen'),
    ],
)
def test_what_is_wrong_is_one_line(tool, config, vit_file, data, capsys, arguments, message):
    assert tool.main([config, vit_file('a.pth'), '--tasks', 'knn', *data, *arguments]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert 'error: ' in error and message in error


def test_a_checkpoint_that_is_missing_shows_before_the_data(tool, config, data, tmp_path, capsys):
    (tmp_path / 'empty').mkdir()
    assert tool.main([config, 'missing.pth', *data, f'knn.data_root={tmp_path / "empty"}']) == 2
    assert 'missing.pth: no such file' in capsys.readouterr().err


def test_every_folder_that_is_missing_shows_before_a_checkpoint_is_read(tool, config, data, capsys):
    assert tool.main([config, 'missing.pth', *data, 'knn.data_root=nowhere']) == 2
    assert 'no such folder: knn.data_root=nowhere' in capsys.readouterr().err


def test_two_detectors_never_share_a_folder(tool, config, vit_file, tmp_path, capsys):
    detector = tmp_path / 'detector.py'
    detector.write_text('train_cfg = dict(max_epochs=1)\n')
    file = vit_file('vit.pth')
    same = f'{Path(file).parent}//{Path(file).name}'
    arguments = [config, file, same, '--tasks', 'coco', '--device=cpu']
    assert tool.main([*arguments, f'--coco-config={detector}', f'--work-dir={tmp_path / "w"}']) == 2
    assert 'would share' in capsys.readouterr().err


def test_the_number_of_images_can_be_limited(
    tool, config, vit_file, data, tmp_path, monkeypatch, capsys
):
    taken = {}

    def look(tasks, networks, device):
        taken.update(tasks)
        return {name: {task: {} for task in tasks} for name in networks}

    monkeypatch.setattr(tool, 'run_tasks', look)
    assert tool.main([config, vit_file('a.pth'), '--max-images=1', *data]) == 0
    assert len(taken['knn'].test) == len(taken['dense'].tasks[0].val) == 1
    train = taken['knn'].train
    assert len(train) == len(train.classes) < 12  # one of each
    assert 'davis: has no limit of images (--max-images), takes all' in capsys.readouterr().out
