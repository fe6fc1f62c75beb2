import os

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger

from flsl_mm.config.keywords import KeywordSafeConfig
from flsl_mm.engine import latest_checkpoint
from flsl_mm.models.layers.compile import CompiledFunction


def save(path, age: int) -> None:
    run = dict(meta=dict(epoch=1, iter=2), message_hub={})
    torch.save(dict(run, state_dict=dict(weight=torch.zeros(3))), path)
    os.utime(path, (1000 - age, 1000 - age))


def test_without_checkpoints_there_is_no_latest(tmp_path):
    assert latest_checkpoint(tmp_path) is None
    assert latest_checkpoint(tmp_path / 'missing') is None


def test_the_pointer_names_the_latest_checkpoint(tmp_path):
    save(tmp_path / 'epoch_1.pth', age=2)
    save(tmp_path / 'epoch_2.pth', age=1)
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_1.pth'))
    assert latest_checkpoint(tmp_path) == str(tmp_path / 'epoch_1.pth')


@pytest.mark.parametrize('original_is_there', [False, True])
def test_a_moved_or_copied_folder_finds_its_own_checkpoint(tmp_path, original_is_there):
    original, copy = tmp_path / 'original', tmp_path / 'copy'
    for folder in (original, copy) if original_is_there else (copy,):
        folder.mkdir()
        save(folder / 'epoch_1.pth', age=1)
        (folder / 'last_checkpoint').write_text(str(original / 'epoch_1.pth'))
    assert latest_checkpoint(copy) == str(copy / 'epoch_1.pth')


def test_a_damaged_copy_is_not_replaced_by_its_original(tmp_path):
    original, copy = tmp_path / 'original', tmp_path / 'copy'
    for folder in (original, copy):
        folder.mkdir()
        for epoch in (1, 2):
            save(folder / f'epoch_{epoch}.pth', age=3 - epoch)
        (folder / 'last_checkpoint').write_text(str(original / 'epoch_2.pth'))
    (copy / 'epoch_2.pth').write_bytes(b'')
    assert latest_checkpoint(copy) == str(copy / 'epoch_1.pth')


def test_checkpoints_in_a_folder_of_their_own_are_found(tmp_path):
    """That of the hook's `out_dir`; the work dir has files of an earlier run."""
    work_dir, out_dir = tmp_path / 'run', tmp_path / 'checkpoints/run'
    for folder in (work_dir, out_dir):
        folder.mkdir(parents=True)
        save(folder / 'epoch_1.pth', age=1)
    (work_dir / 'last_checkpoint').write_text(str(out_dir / 'epoch_1.pth'))
    assert latest_checkpoint(work_dir) == str(out_dir / 'epoch_1.pth')


def test_damaged_files_and_pointers_are_passed_over(tmp_path, capsys):
    MMLogger.get_instance('test_damaged_files')  # writes to this test's output
    save(tmp_path / 'epoch_1.pth', age=3)
    save(tmp_path / 'iter_20.pth', age=2)
    (tmp_path / 'epoch_3.pth').write_bytes((tmp_path / 'iter_20.pth').read_bytes()[:200])
    for pointer in ('', str(tmp_path / 'epoch_3.pth')):
        (tmp_path / 'last_checkpoint').write_text(pointer)
        assert latest_checkpoint(tmp_path) == str(tmp_path / 'iter_20.pth')
    assert 'epoch_3.pth: is no whole checkpoint (' in capsys.readouterr().out


def test_config_text_with_python_keywords_is_python():
    cfg = Config(dict(neck=dict(window_sizes={'global': 2, 'local': 3}), list=[dict(lambda_=1)]))
    text = KeywordSafeConfig.wrap(cfg).pretty_text
    assert Config.fromstring(text, '.py').to_dict() == cfg.to_dict()


def test_compile_in_the_config_compiles_both_backbones(make_runner, tiny_config):
    runner = make_runner(tiny_config, compile=dict(backend='eager'))
    runner._maybe_compile('train_step')  # as mmengine does before it starts a loop
    assert runner.model.compiled.keys() == {'student', 'teacher'}
    assert all(isinstance(f, CompiledFunction) for f in runner.model.compiled.values())


def test_without_workers_nothing_is_prefetched(make_runner, tiny_config):
    tiny_config.train_dataloader.update(num_workers=0, prefetch_factor=4, persistent_workers=True)
    loader = make_runner(tiny_config).build_dataloader(tiny_config.train_dataloader)
    assert loader.num_workers == 0 and len(loader) == 2


def test_any_default_hook_is_switched_off_by_none(make_runner, tiny_config):
    off = {'default_hooks.frozen_evaluation': None, 'default_hooks.timer': None}
    kept, left = (make_runner(tiny_config, **o) for o in ({}, off))
    names = [{type(hook).__name__ for hook in runner.hooks} for runner in (kept, left)]
    assert names[0] - names[1] == {'FrozenEvaluationHook', 'IterTimerHook'}


def test_a_resumed_run_with_averaged_weights_has_its_own_and_the_average(make_runner, tiny_config):
    """EMAHook saves the averaged weights as the model's; a resumed run exchanges them again."""

    def averaged(runner):
        return next(hook for hook in runner.hooks if hasattr(hook, 'ema_model')).ema_model

    cfg = tiny_config
    cfg.custom_hooks = [dict(type='EMAHook', momentum=0.1)]
    cfg.default_hooks.checkpoint.interval = 1
    runner = make_runner(cfg, **{'train_cfg.max_epochs': 1})
    runner.train()
    resumed = make_runner(cfg, resume=True)
    resumed.call_hook('before_run')
    resumed.load_or_resume()
    for part in ('model', 'averaged'):
        expected, found = (
            (r.model if part == 'model' else averaged(r)).state_dict() for r in (runner, resumed)
        )
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert any(
        not torch.equal(a, b)
        for a, b in zip(runner.model.parameters(), averaged(resumed).parameters())
    )
