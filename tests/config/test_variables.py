"""Variables of configs: an override, or an inheriting file, reaches what was built from them."""

import pytest
from mmengine.config import Config

from flsl_mm.apis.command_line import read_config_file
from flsl_mm.config.variables import follow_variables
from flsl_mm.utils.errors import ConfigError

BASE = """
data_root = 'data/x'
crop_size = (8, 8)
dataset = dict(type='Data', data_root=data_root)
pipeline = [dict(type='Crop', size=crop_size)]
train_dataloader = dict(dataset=dict(**dataset, pipeline=pipeline))
val_evaluator = dict(ann_file=f'{data_root}/val.json')
"""
ROOT = 'train_dataloader.dataset.data_root'
CROP = 'train_dataloader.dataset.pipeline.0.size'
FILE = 'val_evaluator.ann_file'


@pytest.fixture
def configs(tmp_path):
    """Writes a config and one that inherits it; gives the path of the latter."""

    def write(text: str = ''):
        (tmp_path / 'base.py').write_text(BASE)
        path = tmp_path / 'leaf.py'
        path.write_text(f"_base_ = ['./base.py']\n{text}\n")
        return path

    return write


def entry(cfg, path):
    for key in path.split('.'):
        cfg = cfg[int(key) if key.isdigit() else key]
    return cfg


@pytest.mark.parametrize(
    'text, options, expected',
    [
        ('', {}, {ROOT: 'data/x', FILE: 'data/x/val.json', CROP: (8, 8)}),
        ('', {'data_root': '/y'}, {ROOT: '/y', FILE: '/y/val.json', CROP: (8, 8)}),
        ('', {'dataset.data_root': '/y'}, {ROOT: '/y', FILE: 'data/x/val.json'}),
        ('', {'crop_size': [4, 4]}, {CROP: [4, 4], ROOT: 'data/x'}),
        ('', {'pipeline.0.size': 4}, {CROP: 4}),
        ('', {'data_root': '/y', ROOT: '/z'}, {ROOT: '/z', FILE: '/y/val.json'}),
        ('', {'data_root': '/y', 'dataset.type': 'Z'}, {ROOT: '/y', FILE: '/y/val.json'}),
        ("data_root = '/y'", {}, {ROOT: '/y', FILE: '/y/val.json'}),
        ("data_root = '/y'", {'data_root': '/z'}, {ROOT: '/z', FILE: '/z/val.json'}),
        ("dataset = dict(data_root='/y')", {}, {ROOT: '/y', FILE: 'data/x/val.json'}),
        (
            "data_root = '/y'\nval_evaluator = dict(ann_file='own.json')",
            {},
            {ROOT: '/y', FILE: 'own.json'},
        ),
    ],
)
def test_what_is_built_from_a_variable_follows_it(configs, text, options, expected):
    cfg = read_config_file(configs(text), options)
    assert {path: entry(cfg, path) for path in expected} == expected
    before = cfg.to_dict()
    follow_variables(cfg)  # as the runner does again
    assert cfg.to_dict() == before


@pytest.mark.parametrize('text', ['', "data_root = '/y'"])
def test_overrides_that_others_merged_follow_too(configs, text):
    cfg = Config.fromfile(configs(text))
    cfg.merge_from_dict({'data_root': '/z'})
    follow_variables(cfg)
    assert (entry(cfg, ROOT), entry(cfg, FILE)) == ('/z', '/z/val.json')


def test_an_override_that_nothing_reads_is_refused(configs):
    with pytest.raises(ConfigError, match='note is read by nothing of .*leaf.py'):
        read_config_file(configs("note = 'y'"), {'note': 'x'})


def test_of_a_dumped_config_the_entries_that_work_are_named(configs, tmp_path):
    dumped = tmp_path / 'dumped.py'
    Config.fromfile(configs()).dump(dumped)
    with pytest.raises(ConfigError, match=f'data_root is read by nothing of .*: override {ROOT}'):
        read_config_file(dumped, {'data_root': '/y'})


ENTRIES = dict(
    coco='mask-rcnn_flsl-vits16_fpn_1x_coco',
    uavdt='faster-rcnn_flsl-vits16_fpn_1x_uavdt',
    ade20k='sem-fpn_flsl-vits16_40k_ade20k-512x512',
    pretrain='flsl_vits16_300e',
)


@pytest.mark.parametrize('task, name', ENTRIES.items())
def test_the_data_root_is_one_setting(project_root, task, name):
    pytest.importorskip('mmseg' if task == 'ade20k' else 'mmdet')
    cfg = read_config_file(project_root / f'configs/{task}/{name}.py', {'data_root': '/mine'})
    loaders = [cfg[f'{s}_dataloader'] for s in ('train', 'val', 'test') if f'{s}_dataloader' in cfg]
    assert {loader.dataset.data_root for loader in loaders} == {'/mine'}
    if task == 'coco':
        evaluators = cfg.val_evaluator, cfg.test_evaluator
        assert {evaluator.ann_file for evaluator in evaluators} == {None}  # that of the data set


def test_a_list_that_was_made_shorter_stays_so(configs):
    text = "crop = dict(type='Crop')\ntrain_dataloader = dict(dataset=dict(pipeline=[crop]))"
    cfg = Config.fromfile(configs(text))
    cfg.crop.size = 4
    cfg.train_dataloader.dataset.pipeline = []
    follow_variables(cfg)
    assert cfg.train_dataloader.dataset.pipeline == []


def test_variables_of_a_library_s_config_pass_unused(tmp_path):
    pytest.importorskip('mmdet')
    path = tmp_path / 'leaf.py'
    path.write_text(
        "_base_ = ['mmdet::_base_/datasets/coco_instance.py']\n"
        "data_root = '/y/'\n"
        "load = [dict(type='LoadImageFromFile')]\n"
        'val_dataloader = test_dataloader = dict(dataset=dict(pipeline=load))\n'
    )
    cfg = read_config_file(path, {})
    assert cfg.val_dataloader.dataset.pipeline == [dict(type='LoadImageFromFile')]
    assert cfg.train_dataloader.dataset.data_root == '/y/'
    assert cfg.val_evaluator.ann_file == '/y/annotations/instances_val2017.json'
    assert cfg.val_evaluator._scope_ == 'mmdet'
