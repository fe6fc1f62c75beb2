"""Settings that nothing reads, at the top of a config and nested."""

import pytest
import torch
from mmengine.config import Config

from flsl_mm.apis.command_line import read_config_file
from flsl_mm.apis.frozen import _task_names, read_tasks
from flsl_mm.config.entries import check_custom_keys, check_entries, check_names
from flsl_mm.config.variables import run_entries
from flsl_mm.utils.errors import ConfigError

COCO = 'coco/mask-rcnn_flsl-vits16_fpn_1x_coco'
ADE20K = 'ade20k/sem-fpn_flsl-vits16_40k_ade20k-512x512'


@pytest.mark.parametrize(
    'entry, nearest',
    [
        ('auto_scale_lr.enabled', 'enable'),
        ('env_cfg.cudnn_benchmrk', 'cudnn_benchmark'),
        ('env_cfg.mp_cfg.opencv_num_thread', 'opencv_num_threads'),
        ('env_cfg.dist_cfg.backed', 'backend'),
        ('randomness.deterministik', 'deterministic'),
        ('default_hooks.logger.intervall', 'interval'),
        ('default_hooks.checkpoint.max_keep_ckpt', 'max_keep_ckpts'),
        ('default_hooks.checkpont.interval', 'default_hooks.checkpoint'),
        ('train_cfg.max_epoch', 'max_epochs'),
        ('optim_wrapper.optimizer.weight_decai', 'weight_decay'),
        ('log_processor.window', 'window_size'),
        ('optim_wrapper.accumulativ_counts', 'accumulative_counts'),
        ('optim_wrapper.clip_grad.max_nrm', 'max_norm'),
        ('optim_wrapper.paramwise_cfg.norm_decay_mul', 'norm_decay_mult'),
        ('param_scheduler.eta_mn', 'eta_min'),
        ('train_dataloader.num_worker', 'num_workers'),
        ('train_dataloader.sampler.shufle', 'shuffle'),
        ('train_dataloader.dataset.data_roots', 'data_root'),
        ('train_dataloader.dataset.pipeline.0.min_sides', 'min_side'),
        ('model.backbone.drop_path_rat', 'drop_path_rate'),
        ('model.backbone.arch.num_head', 'num_heads'),
        ('model.head.loss_weights.itra', 'intra'),
        ('compile.modee', 'mode'),
    ],
)
def test_misspelt_settings_are_refused_with_the_nearest_name(tiny_config, entry, nearest):
    check_entries(tiny_config)
    tiny_config.merge_from_dict({entry: 3})
    with pytest.raises(ConfigError, match=f'(read by nothing|has no type); is it {nearest}\\?'):
        check_entries(tiny_config)


@pytest.mark.parametrize(
    'config, entry, nearest',
    [
        (COCO, 'model.train_cfg.rpn.assigner.pos_iou_thrs', 'pos_iou_thr'),
        (COCO, 'model.train_cfg.rcnn.sampler.pos_fractoin', 'pos_fraction'),
        (COCO, 'model.train_cfg.rpn_proposal.nms_prre', 'nms_pre'),
        (COCO, 'model.test_cfg.rcnn.score_thrr', 'score_thr'),
        (COCO, 'model.test_cfg.rcnn.nms.iou_treshold', 'iou_threshold'),
        (COCO, 'model.test_cfg.rcn', 'rcnn'),
        (COCO, 'model.rpn_head.num_conv', 'num_convs'),
        (COCO, 'train_dataloader.dataset.filter_cfg.filter_empty_gts', 'filter_empty_gt'),
        (COCO, 'test_evaluator.outfile_prefx', 'outfile_prefix'),
        (COCO, 'optim_wrapper.paramwise_cfg.decay_rat', 'decay_rate'),
        (COCO, 'train_dataloader.dataset.metainfo.clases', 'classes'),
        (COCO, 'train_dataloader.dataset.data_prefix.imgs', 'img'),
        (ADE20K, 'train_dataloader.dataset.data_prefix.image_path', 'img_path'),
        (ADE20K, 'model.test_cfg.strid', 'stride'),
        (ADE20K, 'model.decode_head.loss_decode.loss_wight', 'loss_weight'),
    ],
)
def test_so_are_those_of_detectors_and_segmentors(project_root, config, entry, nearest):
    pytest.importorskip('mmseg' if config is ADE20K else 'mmdet')
    cfg = Config.fromfile(project_root / f'configs/{config}.py')
    cfg.merge_from_dict({entry: 3})
    with pytest.raises(ConfigError, match=f'{entry} is read by nothing; is it {nearest}\\?'):
        check_entries(cfg)


def test_the_name_of_another_library_s_folder_is_refused(project_root):
    pytest.importorskip('mmseg')
    cfg = Config.fromfile(project_root / f'configs/{ADE20K}.py')
    cfg.train_dataloader.dataset.data_prefix.img = 'images'  # as mmdet calls it
    with pytest.raises(ConfigError, match=r'data_prefix\.img is read by nothing$'):
        check_entries(cfg)


def test_two_entries_of_nearly_one_name_are_refused(project_root):
    pytest.importorskip('mmdet')
    cfg = Config.fromfile(project_root / f'configs/{COCO}.py')
    cfg.model.test_cfg.rcnn.max_per_image = 3  # as in another version of mmdet
    with pytest.raises(ConfigError, match='rcnn has max_per_image and max_per_img: one of them'):
        check_entries(cfg)


@pytest.mark.parametrize(
    'config',
    [
        'pretrain/mocov3_vits16_300e',
        'coco/mask-rcnn_flsl-vitb16_vitdet_100e_coco',
        'uavdt/faster-rcnn_flsl-vits16_fpn_1x_uavdt',
        'ade20k/sem-fpn_flsl-vits16_40k_ade20k-512x512',
        'ade20k/knn_flsl-vits16_1e_ade20k-512x512',
    ],
)
def test_the_configs_of_every_task_pass(project_root, config):
    pytest.importorskip('mmdet')
    pytest.importorskip('mmseg')
    check_entries(Config.fromfile(project_root / f'configs/{config}.py'))


BASE = """
crop_size = (8, 8)
lr = 0.1
norm = dict(type='LN')
_note = 'for people'
model = dict(type='M', size=crop_size, norm={{_base_.norm}})
train_dataloader = dict(batch_size=2, dataset=dict(pipeline=[dict(type='Crop', size=crop_size)]))
optim_wrapper = dict(optimizer=dict(type='SGD', lr=lr / 2))
""".replace('{{_base_.norm}}', 'norm')


@pytest.fixture
def leaf(tmp_path):
    """Writes a config that inherits one, and gives its path."""

    def write(text: str, base: str = BASE) -> str:
        (tmp_path / 'base.py').write_text(base)
        path = tmp_path / 'leaf.py'
        path.write_text(f"_base_ = ['./base.py']\n{text}\n")
        return str(path)

    return write


@pytest.mark.parametrize(
    'text, message',
    [
        ('train_datalodaer = dict(batch_size=4)', 'train_datalodaer .*; is it train_dataloader?'),
        ('optim_wraper = dict(optimizer=dict(lr=1))', 'optim_wraper .*; is it optim_wrapper?'),
        ('crop_sise = (4, 4)', 'crop_sise .*; is it crop_size?'),
        ('load_form = "x.pth"', 'load_form .*; is it load_from?'),
        ('resme = True', 'resme .*; is it resume?'),
        ('modle = _base_.model', 'modle .*; is it model?'),
        ('modle = _base_.model\nmodle.update(size=3)', 'modle .*; is it model?'),
        ('modle = _base_.model\nmodle.norm.type = "BN"', 'modle .*; is it model?'),
        ('modle = _base_.model\nmodle["size"] = 3', 'modle .*; is it model?'),
        ('custom_hook = [dict(type="EMAHook")]', 'custom_hook .*; is it custom_hooks?'),
        ('total_epochs = 3', r'total_epochs is read by nothing of .*leaf.py \(a note may'),
        ('data = dict(samples_per_gpu=2)', 'data is read by nothing'),
        ('lr: float = 3\nlearning_rate = 3', 'learning_rate is read by nothing'),
    ],
)
def test_top_level_names_that_nothing_reads_are_refused(leaf, text, message):
    with pytest.raises(ConfigError, match=message):
        read_config_file(leaf(text), {})
    cfg = Config.fromfile(leaf(text))
    with pytest.raises(ConfigError, match=message):  # as mmdet's own train.py does
        check_entries(cfg)


@pytest.mark.parametrize(
    'text',
    [
        'lr = 0.2',
        '_mine = 3',
        'size = (4, 4)\nmodel = dict(size=size)',
        'size = {{_base_.crop_size}}\nmodel = dict(size=size)',
        "size = 3\nmodel = dict(name=f'{size}')",
        'sizes = [3, 4]\nfor size in sizes:\n    model = dict(size=size)',
        'base_model = _base_.model\nbase_model.size = 3\nmodel = base_model',
        'from math import sqrt\nroot = sqrt(4)\nmodel = dict(size=root)',
        'find_unused_parameters = True\nactivation_checkpointing = []',
    ],
)
def test_variables_of_config_files_and_notes_pass(leaf, text):
    read_config_file(leaf(text), {})


def test_what_a_library_s_own_files_leave_unread_passes(tmp_path, leaf):
    folder = tmp_path / '.mim/configs'
    folder.mkdir(parents=True)
    (folder / 'base.py').write_text(BASE + 'bgr_std = 3\n')
    text = 'model = dict(size=3)'
    path = leaf(text)
    (tmp_path / 'leaf.py').write_text(f"_base_ = ['{folder}/base.py']\n{text}\n")
    assert read_config_file(path, {}).bgr_std == 3


def test_what_the_user_s_own_modules_read_passes(tmp_path, leaf, monkeypatch):
    (tmp_path / 'my_project.py').write_text('def hook(runner):\n    return runner.cfg.my_ratio\n')
    monkeypatch.syspath_prepend(tmp_path)
    text = "custom_imports = dict(imports=['my_project'])\nmy_ratio = 3"
    assert read_config_file(leaf(text), {}).my_ratio == 3
    with pytest.raises(ConfigError, match='my_ration is read by nothing'):
        read_config_file(leaf(f'{text}\nmy_ration = 3'), {})


@pytest.mark.parametrize('suffix', ['py', 'json', 'yaml'])
def test_a_saved_config_passes_and_names_near_known_ones_do_not(leaf, tmp_path, suffix):
    cfg, path = Config.fromfile(leaf('lr = 0.3')), tmp_path / f'saved.{suffix}'
    cfg.dump(path)
    read_config_file(path, {})
    cfg.train_pipeline = [dict(type='Crop', size=3)]  # its loader was overridden
    cfg.optim_wraper = dict(optimizer=dict(lr=3))
    cfg.dump(path)
    with pytest.raises(ConfigError, match='optim_wraper .*; is it optim_wrapper'):
        read_config_file(path, {})


@pytest.mark.parametrize('name', ['optim_wraper', 'train_datalodaer', 'lerning_rate'])
def test_entries_that_others_merged_are_refused_too(leaf, name):
    cfg = Config.fromfile(leaf(''))
    cfg.merge_from_dict({f'{name}.x': 3})
    with pytest.raises(ConfigError, match=f'{name} is read by nothing'):
        check_entries(cfg)


def test_the_frozen_tasks_of_a_config_are_its_entries(tmp_path):
    path = tmp_path / 'frozen.py'
    path.write_text("knn = dict(type='BoxKNN', data_root='x')\n")
    leaf = tmp_path / 'leaf.py'
    leaf.write_text("_base_ = './frozen.py'\nkn = dict(train_per_class=3)\n")
    with pytest.raises(ConfigError, match='kn is read by nothing of .*; is it knn'):
        read_tasks(leaf, {})


def test_configs_of_every_folder_pass(project_root):
    folders = {path.parent for path in (project_root / 'configs').rglob('*.py')}
    for folder in folders - set((project_root / 'configs/_base_').rglob('*')):
        cfg = Config.fromfile(min(folder.glob('*.py')), import_custom_modules=False)
        check_names(cfg, run_entries() | _task_names(cfg))


@pytest.mark.parametrize('key', ['backbone', '.norm1', 'layers.0', 'bias', 'head'])
def test_custom_keys_that_are_in_a_parameter_name_pass(key):
    assert check_custom_keys(dict(custom_keys={key: dict(lr_mult=0.1)}), detector()) == []


@pytest.mark.parametrize(
    'key, near', [('bakcbone', 'backbone'), ('backbone.layer.0', 'layers'), ('heads', 'head')]
)
def test_misspelt_custom_keys_are_refused_with_the_nearest_name(key, near):
    with pytest.raises(ConfigError, match=f'{key} is in no parameter name; is it {near}\\?'):
        check_custom_keys(dict(custom_keys={key: dict(lr_mult=0.1)}), detector())


def test_other_custom_keys_without_effect_are_named_in_the_log(tiny_config, make_runner, capsys):
    keys = {'level_embed': dict(decay_mult=0.0), 'backbone': dict(lr_mult=0.1)}
    optim_wrapper = dict(
        type='OptimWrapper',
        optimizer=dict(type='SGD', lr=0.1, weight_decay=0.1),
        constructor='DefaultOptimWrapperConstructor',
        paramwise_cfg=dict(custom_keys=keys),
    )
    runner = make_runner(tiny_config)
    runner.build_optim_wrapper(optim_wrapper)
    printed = capsys.readouterr()
    [warning] = [s for s in (printed.out + printed.err).splitlines() if 'custom_keys:' in s]
    assert 'level_embed is in no parameter name' in warning and 'backbone' not in warning


def detector() -> torch.nn.Module:
    """What has the names of a small detector."""
    block = torch.nn.ModuleDict(dict(norm1=torch.nn.LayerNorm(2)))
    layers = torch.nn.ModuleDict(dict(layers=torch.nn.ModuleList([block])))
    return torch.nn.ModuleDict(dict(backbone=layers, head=torch.nn.Linear(2, 2)))
