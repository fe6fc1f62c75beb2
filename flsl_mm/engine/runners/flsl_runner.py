"""mmengine's Runner, with the rough edges of long and of small runs taken off."""

import copy
import logging
import os
import subprocess
import sys
import warnings
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dist import broadcast_object_list, is_distributed, is_main_process
from mmengine.logging import MMLogger
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import OptimWrapper, _ParamScheduler
from mmengine.optim.scheduler import ReduceOnPlateauParamScheduler
from mmengine.registry import RUNNERS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from mmengine.visualization import Visualizer
from torch import nn
from torch.utils.data import DataLoader

from ...checkpoint import CheckpointError, load_model, read_checkpoint
from ...checkpoint.files import check_checksums
from ...config import complete
from ...config.channels import pixel_statistics
from ...config.entries import check_custom_keys
from ...config.keywords import KeywordSafeConfig
from ...config.pretrained import (
    check_pretrained,
    forget_pretrained,
    lacks_its_network,
    refuse_unsafe,
    take_network_from,
    trust_files,
)
from ...models.backbones import FrozenViT
from ...models.layers.compile import compile_networks
from ...models.selfsup.student_teacher import StudentTeacher
from ...utils.counts import counted
from ...utils.devices import plan_no_attention
from ...utils.errors import ConfigError
from ...utils.files import open_regular
from ...utils.modules import unwrap_model
from ..schedulers import WarmupCosineLR
from .log_failures import mend_logger, mend_visualizer
from .run_summary import describe_end, describe_start
from .start_screen import StartScreen
from .work_dir_lock import alone_in

LONGEST_PATH = 4096  # bytes that Linux takes

# Where a run's first computation begins.
FIRST_WORK = ('before_train_iter', 'before_val_epoch', 'before_test_epoch')

# The names of mmengine's default hooks.
OWN_HOOKS = ('runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint')


@RUNNERS.register_module()
class FLSLRunner(Runner):
    """Runner that also trains in several processes on a CPU and resumes from what is readable.

    - Checkpoints are read without executing what is in them, and must fit the model exactly. Only
      with a top-level ``trust=True`` files are read that may execute code.
    - Where all weights come from a checkpoint (``load_from``, a resumed run), the pretrained ones
      that the model once started from need not be there any more.
    - Until its first iteration the screen shows few lines; the log file has all of them. The last
      line says where checkpoint, curves and pictures are.
    - One run trains in a work dir at a time. A process whose launcher has ended, ends too.
    - A log that cannot be written does not end training.
    - Without a GPU, a distributed run uses gloo, and BN for SyncBN, instead of failing. Gradients
      are kept once, as parts of the buckets that are exchanged.
    - Scaling the learning rate by the batch size counts gradient accumulation.
    - ``resume=True`` skips a checkpoint or pointer that is damaged, and starts anew where there is
      none. ``resume='auto'`` does so with a ``load_from`` too, which a first start takes.
    - Configs may have dict keys that are Python keywords, such as ``global``.
    - Every one of ``default_hooks`` is switched off by None, not only mmengine's own.
    - ``num_workers=0`` just works, though configs ask for persistent or prefetching workers.
    - ``compile=True`` (or a dict of arguments of :func:`torch.compile`) compiles the backbones of a
      pretraining with static shapes; where that is not possible a warning says so, once.
    - What a config leaves ``'auto'`` is chosen (:func:`choose_settings`, :func:`take_design`);
      necks and heads follow the width of the backbone (:func:`follow_backbone`), readers and pixel
      statistics its channels (:func:`follow_channels`).
    - A config's top-level ``pretrained`` names the backbone's weights (:func:`use_pretrained`).
    - Heads have as many classes as the training data (:func:`use_classes`).
    """

    def __init__(self, *args, cfg: dict | Config | None = None, **kwargs) -> None:
        if isinstance(cfg, Config):
            cfg = KeywordSafeConfig.wrap(cfg)
        super().__init__(*args, cfg=cfg, **kwargs)

    @classmethod
    def from_cfg(cls, cfg: Config) -> 'FLSLRunner':
        """Build the runner of a config."""
        cfg = copy.deepcopy(cfg)

        def start() -> str | None:
            """The checkpoint that the run goes on from."""
            if cfg.get('load_from') is None and cfg.get('resume'):
                return latest_checkpoint(cfg.work_dir, cfg.get('trust', False))
            return cfg.get('load_from')

        chosen = complete(cfg, start)
        if lacks_its_network(cfg) and (file := start()) is not None:
            take_network_from(cfg, file)
        if cfg.get('trust'):
            trust_files(cfg)
        runner = super().from_cfg(cfg)
        for line in chosen:
            runner.logger.info(line)
        return runner

    def train(self) -> nn.Module:
        """Train; the trained model. An error is also written to the end of the log file.

        Raises:
            CheckpointError: The pretrained weights are not there.
            ConfigError: They would be read by mmengine's ``Pretrained``, or another run trains in
                the work dir.
        """
        try:
            with alone_in(self.work_dir, self._launcher != 'none', self.logger.info):
                self._find_checkpoint()
                if self._load_from is None:
                    refuse_unsafe(unwrap_model(self.model))
                    check_pretrained(self.cfg)
                model = super().train()
            for line in describe_end(self):
                self.logger.info(line)
            return model
        except KeyboardInterrupt:
            last = self.message_hub.runtime_info.get('last_ckpt')
            advice = f'--resume goes on from {last}' if last else 'no checkpoint was saved before'
            self.logger.warning(f'interrupted; {advice}')
            raise
        except Exception:
            self._write_error()
            raise

    def _write_error(self) -> None:
        """Add the error that is being handled to the log file; the screen gets it elsewhere."""
        record = self.logger.makeRecord(
            self.logger.name, logging.ERROR, __file__, 0, 'training ended', (), sys.exc_info()
        )
        for handler in self.logger.handlers:
            if isinstance(handler, logging.FileHandler):
                handler.handle(record)

    def _init_model_weights(self) -> None:
        """Initialize the model, without its pretrained weights where a checkpoint has all."""
        if self._load_from is not None:
            forget_pretrained(unwrap_model(self.model))
        super()._init_model_weights()

    def build_logger(self, *args, **kwargs) -> MMLogger:
        """The logger of the run."""
        logger = super().build_logger(*args, **kwargs)
        self._screen = StartScreen(logger)
        mend_logger(logger)
        return logger

    def call_hook(self, fn_name: str, **kwargs) -> None:
        """Call the hooks of an event; before the first iteration the start of the run ends.

        cuDNN tries its kernels out for shapes of training only: images of an evaluation have many
        sizes, for each of which it would do so anew.
        """
        if fn_name in ('before_val', 'before_test'):
            self._tries_kernels = torch.backends.cudnn.benchmark
            torch.backends.cudnn.benchmark = False
        if fn_name in FIRST_WORK and not self._screen.opened:
            if fn_name == 'before_train_iter':
                for line in describe_start(self):
                    self.logger.info(line)
            path, remarks = self._screen.path, self._screen.open()
            more = f', with {counted(remarks, "remark")} of libraries' if remarks else ''
            self.logger.info(f'config, environment and all details: {path}{more}')
        super().call_hook(fn_name, **kwargs)
        if fn_name in ('after_val', 'after_test'):
            torch.backends.cudnn.benchmark = self._tries_kernels

    def build_visualizer(self, *args, **kwargs) -> Visualizer:
        """What writes the curves of the run."""
        visualizer = super().build_visualizer(*args, **kwargs)
        mend_visualizer(visualizer)
        return visualizer

    def setup_env(self, env_cfg: dict) -> None:
        """Start distributed training; choose how a GPU computes.

        Args:
            env_cfg: mmengine's; ``allow_tf32`` lets a GPU multiply float32 matrices in
                TensorFloat32.
        """
        if env_cfg.get('allow_tf32'):
            torch.set_float32_matmul_precision('high')
        plan_no_attention()
        if self.distributed and not torch.cuda.is_available() and not is_distributed():
            if self._launcher == 'slurm':
                _name_slurm_process()
            seconds = env_cfg.get('dist_cfg', {}).get('timeout')
            timeout = None if seconds is None else timedelta(seconds=seconds)
            torch.distributed.init_process_group('gloo', timeout=timeout)
        super().setup_env(env_cfg)

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Wrap the model for distributed training."""
        if self.distributed and model_wrapper_cfg is None:
            on_gpu = torch.cuda.is_available()
            unused = self.cfg.get('find_unused_parameters', False)
            accumulates = (self.cfg.get('optim_wrapper') or {}).get('accumulative_counts', 1) > 1
            model_wrapper_cfg = dict(
                type='MMDistributedDataParallel',
                device_ids=[torch.cuda.current_device()] if on_gpu else None,
                broadcast_buffers=False,
                find_unused_parameters=unused,
                gradient_as_bucket_view=True,  # no second copy of the gradients
                # In every step of a pretraining the same parameters have gradients.
                static_graph=isinstance(model, StudentTeacher) and not unused and not accumulates,
            )
            if not on_gpu:
                model = revert_sync_batchnorm(model)  # it exists on GPUs only
        return super().wrap_model(model_wrapper_cfg, model)

    def scale_lr(self, optim_wrapper: OptimWrapper, auto_scale_lr: dict | None = None) -> None:
        """Scale the learning rate by processes x batch size x accumulated iterations."""
        accumulated = getattr(optim_wrapper, '_accumulative_counts', 1)
        if auto_scale_lr and auto_scale_lr.get('enable') and accumulated > 1:
            self.logger.info(
                f'Each optimizer step accumulates {accumulated} batches; the learning rate is '
                'scaled for all of them.'
            )
            base = auto_scale_lr['base_batch_size'] / accumulated
            auto_scale_lr = {**auto_scale_lr, 'base_batch_size': base}
        super().scale_lr(optim_wrapper, auto_scale_lr)

    def register_default_hooks(self, hooks: dict | None = None) -> None:
        """Register the default hooks; those that are None are left out."""
        hooks = hooks or {}
        # mmengine takes its own away where they are None, and stops at any other None.
        super().register_default_hooks(
            {name: hook for name, hook in hooks.items() if hook is not None or name in OWN_HOOKS}
        )

    def _maybe_compile(self, target: str) -> None:
        """Compile as ``compile`` in the config says; called by mmengine before a loop starts.

        mmengine would compile the whole ``train_step``, with data preprocessing, logging and
        optimizer in it.
        """
        options = self.cfg.get('compile')
        model = unwrap_model(self.model)
        if not options or not isinstance(model, StudentTeacher):
            super()._maybe_compile(target)
            return
        compile_networks(model, **({} if options is True else options))

    def build_optim_wrapper(self, optim_wrapper: dict | OptimWrapper) -> OptimWrapper:
        """Build the optimizer, or those of a dict.

        Raises:
            ConfigError: One of its ``custom_keys`` is a misspelt part of the model.
        """
        if isinstance(optim_wrapper, dict):
            model = unwrap_model(self.model)
            if unused := check_custom_keys(optim_wrapper.get('paramwise_cfg'), model):
                self.logger.warning(
                    f'optim_wrapper.paramwise_cfg.custom_keys: {", ".join(unused)} '
                    f'{"is" if len(unused) == 1 else "are"} in no parameter name: without effect'
                )
        return super().build_optim_wrapper(optim_wrapper)

    def build_param_scheduler(
        self, scheduler: _ParamScheduler | dict | list
    ) -> list[_ParamScheduler] | dict[str, list[_ParamScheduler]]:
        """Build the schedulers of the optimizer.

        Args:
            scheduler: One, its config, or a list of these; where there are several optimizers also
                a dict of such by their names.

        Returns:
            list | dict: The schedulers; by name where there are several optimizers.

        Raises:
            ConfigError: One is given in epochs, but the loop counts iterations only.
        """
        listed = scheduler if isinstance(scheduler, list) else [scheduler]
        if isinstance(self._train_loop, IterBasedTrainLoop) and any(
            isinstance(s, dict) and s.get('convert_to_iter_based') for s in listed
        ):
            raise ConfigError(
                'param_scheduler is given in epochs, which an IterBasedTrainLoop has not: give it '
                'in iterations (by_epoch=False, convert_to_iter_based=False)'
            )
        return super().build_param_scheduler(scheduler)

    def load_checkpoint(self, filename: str, *_, **__) -> dict:
        """Load weights strictly, without executing anything that is in the file.

        Args:
            filename: A checkpoint of this model, on disk.

        Returns:
            dict: What the file holds; of the log's history nothing.

        Raises:
            CheckpointError: The file cannot be read or does not fit the model, or it shall be
                resumed and is not what was written, or holds no state of a run.
        """
        if self._resume:
            check_checksums(filename)

        def prepare(checkpoint: dict) -> None:
            if self._resume:
                _check_resumable(checkpoint, filename)
                checkpoint['meta'].pop('config', None)  # mmengine would run it to see the GPUs
            if 'message_hub' in checkpoint:
                checkpoint['message_hub'].update(log_scalars={}, resumed_keys={})
            if 'state_dict' not in checkpoint:  # hooks ask for it
                weights = dict(checkpoint)
                checkpoint.clear()
                checkpoint['state_dict'] = weights
            # An EMAHook exchanges the averaged weights in it for the model's own.
            self.call_hook('after_load_checkpoint', checkpoint=checkpoint)

        trust = self.cfg.get('trust', False)
        checkpoint = load_model(self.model, filename, trust, on_read=prepare)
        self._has_loaded = True
        self.logger.info(f'Load checkpoint from {filename}')
        return checkpoint

    def save_checkpoint(
        self, out_dir: str, filename: str, *args, meta: dict | None = None, **kwargs
    ) -> None:
        """Save a checkpoint, with what the weights of a ViT do not say beside them."""
        model = unwrap_model(self.model)
        backbone = getattr(model, 'backbone', None)
        facts = {}
        if isinstance(backbone, FrozenViT):
            facts = {**backbone.facts, **pixel_statistics(model)}
        super().save_checkpoint(out_dir, filename, *args, meta={**(meta or {}), **facts}, **kwargs)

    def resume(self, filename: str, *args, **kwargs) -> None:
        """Continue the run of a checkpoint; the learning rate is that of the present config.

        So is every other setting of the optimizer. A run whose epochs now have another length
        (batch size, data, number of processes) continues at the beginning of the checkpoint's
        epoch.
        """
        self._resume = True
        self._train_loop = self.build_train_loop(self._train_loop)  # which knows a schedule's end
        present = _Schedule.of(self)
        super().resume(filename, *args, **kwargs)
        self.logger.info(f'resumed epoch: {self.epoch}, iteration: {self.iter}, of {filename}')
        info = self.message_hub.runtime_info
        info['last_ckpt'] = str(filename)  # a file does not know where it was moved
        by_epoch = isinstance(self.train_loop, EpochBasedTrainLoop)
        if by_epoch and self.epoch >= self.max_epochs:
            self.logger.warning(
                f'{filename} has {counted(self.epoch, "epoch")}, and max_epochs={self.max_epochs} '
                'asks for no more: there is nothing left to train.'
            )
            return
        length = len(self.train_dataloader)
        if by_epoch and info.get('max_iters', 0) != length * info.get('max_epochs', 0):
            self.logger.warning(
                f'An epoch has {counted(length, "iteration")} now, another number than when '
                f'{filename} was saved: continuing at the beginning of epoch {self.epoch + 1}.'
            )
            self.train_loop._iter = self.epoch * length
        if present is None:
            self.logger.warning(
                'The learning rate and the other settings of the optimizer are kept as they are in '
                f'{filename}: schedules of metrics, or of several optimizers, cannot be run again.'
            )
        else:
            present.move_to(self.epoch, self.iter, length if by_epoch else None)

    def load_or_resume(self) -> None:
        """Load weights, or resume from a named or from the latest readable checkpoint."""
        self._find_checkpoint()
        super().load_or_resume()

    def _find_checkpoint(self) -> None:
        """Look for the checkpoint to resume from, where none is named; without any, start anew."""
        unnamed = self._resume == 'auto' or (self._resume and self._load_from is None)
        if unnamed and not self._has_loaded:
            trust, latest = self.cfg.get('trust', False), [None]
            if is_main_process():
                latest = [latest_checkpoint(self.work_dir, trust)]
            broadcast_object_list(latest)  # all processes resume the same one, or none does
            self._resume = latest[0] is not None
            if self._resume:
                self._load_from = latest[0]
            else:
                start = 'anew' if self._load_from is None else f'from {self._load_from}'
                self.logger.info(
                    f'No checkpoint to resume from in {self.work_dir}: starting {start}.'
                )

    @staticmethod
    def build_dataloader(
        dataloader: DataLoader | dict, seed: int | None = None, diff_rank_seed: bool = False
    ) -> DataLoader:
        """Build a data loader; without workers there are none to keep alive or to prefetch.

        Args:
            dataloader: Its config; one that is built already is returned.
            seed: Of its sampler and its workers; without one they differ from run to run.
            diff_rank_seed: Whether ``seed`` differs between processes; their samplers, which must
                agree, then draw one together.
        """
        if isinstance(dataloader, dict) and dataloader.get('num_workers') == 0:
            dataloader = {**copy.deepcopy(dataloader), 'persistent_workers': False}
            dataloader.pop('prefetch_factor', None)
        return Runner.build_dataloader(dataloader, seed, diff_rank_seed)


# Of an optimizer's groups, what is no setting but how it computes.
_KEPT = ('params', 'foreach', 'fused', 'capturable', 'differentiable')


class _Schedule:
    """Settings and schedulers of an optimizer as the config has them, before a resume.

    Args:
        optim_wrapper: Of one optimizer.
        schedulers: All of it; none that follows a metric.
    """

    def __init__(self, optim_wrapper: OptimWrapper, schedulers: list[_ParamScheduler]) -> None:
        self.optim_wrapper, self.schedulers = optim_wrapper, schedulers
        self.groups = [
            copy.deepcopy({k: v for k, v in group.items() if k not in _KEPT})
            for group in optim_wrapper.param_groups
        ]
        self.states = [copy.deepcopy(scheduler.state_dict()) for scheduler in schedulers]

    @classmethod
    def of(cls, runner: Runner) -> '_Schedule | None':
        """That of a runner; None where it cannot be run again."""
        runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        listed = runner.param_schedulers
        if listed is not None:
            listed = runner.param_schedulers = runner.build_param_scheduler(listed)
        plain = (listed is None or isinstance(listed, list)) and not any(
            isinstance(s, ReduceOnPlateauParamScheduler) for s in listed or ()
        )
        if not plain or not isinstance(runner.optim_wrapper, OptimWrapper):
            return None
        return cls(runner.optim_wrapper, listed or [])

    def move_to(self, epoch: int, iteration: int, length: int | None) -> None:
        """Run the schedulers again, from the start to where the run goes on.

        Args:
            epoch: Finished epochs.
            iteration: Finished iterations.
            length: Iterations of an epoch; None where there are no epochs.
        """
        for group, settings in zip(self.optim_wrapper.param_groups, self.groups):
            group.update(copy.deepcopy(settings))
        stepped = []
        for scheduler, state in zip(self.schedulers, self.states):
            if isinstance(scheduler, WarmupCosineLR):
                scheduler.move_to(iteration)
            else:
                scheduler.load_state_dict(copy.deepcopy(state))
                stepped.append(scheduler)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # torch's, that no step of the optimizer came before
            for done in range(1, iteration + 1) if stepped else ():
                for scheduler in stepped:
                    if not scheduler.by_epoch:
                        scheduler.step()
                if length and done % length == 0 and done // length <= epoch:
                    for scheduler in stepped:
                        if scheduler.by_epoch:
                            scheduler.step()


def _name_slurm_process() -> None:
    """Tell torch what Slurm knows of this process, as mmengine does where there are GPUs.

    Raises:
        ConfigError: It was not started by srun.
    """
    given = {'RANK': 'PROCID', 'WORLD_SIZE': 'NTASKS', 'LOCAL_RANK': 'LOCALID'}
    for name, of_slurm in given.items():
        value = os.environ.get(f'SLURM_{of_slurm}')
        if value is None:
            raise ConfigError(
                f'--launcher slurm: SLURM_{of_slurm} is not set; start it with srun, as '
                'tools/slurm_train.sh does'
            )
        os.environ[name] = value
    os.environ.setdefault('MASTER_PORT', '29500')
    if 'MASTER_ADDR' not in os.environ:
        nodes = ['scontrol', 'show', 'hostname', os.environ['SLURM_NODELIST']]
        os.environ['MASTER_ADDR'] = subprocess.check_output(nodes, text=True).split()[0]


def _check_resumable(checkpoint: dict, filename: str) -> None:
    """Refuse a file of weights alone, such as a converted one.

    Raises:
        CheckpointError: It does not say where the run was.
    """
    meta = checkpoint.get('meta')
    meta = meta if isinstance(meta, dict) else {}
    numbers = all(isinstance(meta.get(name), int) for name in ('epoch', 'iter'))
    if not numbers or not isinstance(checkpoint.get('message_hub'), dict):
        raise CheckpointError(
            f'{filename}: holds weights only, no run to resume; start from them with '
            f'--cfg-options load_from={filename}, without --resume'
        )


def latest_checkpoint(work_dir: str | Path, trust: bool = False) -> str | None:
    """The newest checkpoint of a run that it can go on from.

    That is the one ``last_checkpoint`` points to, else the most recent of ``epoch_*.pth`` and
    ``iter_*.pth``. What is damaged, or holds weights only, is passed over with a warning that names
    it. The pointer of a folder that was moved or copied means the file of that name in the folder
    itself.

    Args:
        work_dir: Folder of the run.
        trust: See :func:`read_checkpoint`.

    Returns:
        Optional[str]: Its path, or ``None``.
    """
    work_dir, warn = Path(work_dir), MMLogger.get_current_instance().warning
    found = [*work_dir.glob('epoch_*.pth'), *work_dir.glob('iter_*.pth')]
    candidates = sorted(found, key=_time_of_change, reverse=True)
    pointer = work_dir / 'last_checkpoint'
    if os.path.lexists(pointer):
        try:
            candidates.insert(0, _pointed_at(pointer))
        except (OSError, ValueError) as error:  # no UTF-8, too long, a zero in it, a pipe
            reason = getattr(error, 'strerror', None) or error
            warn(f'{pointer} leads to no checkpoint ({reason}): passed over')
    for path in dict.fromkeys(candidates):
        try:
            check_checksums(path)
            _check_resumable(read_checkpoint(path, trust), str(path))
        except CheckpointError as error:
            warn(f'{error}: passed over')
        else:
            return str(path)
    return None


def _time_of_change(path: Path) -> float:
    """Of a file, in seconds; 0 where it has gone."""
    for follow in (True, False):  # a link may lead nowhere
        with suppress(OSError):
            return path.stat(follow_symlinks=follow).st_mtime
    return 0.0


def _pointed_at(pointer: Path) -> Path:
    """The checkpoint that a pointer names.

    Raises:
        OSError: The pointer or the checkpoint is missing or cannot be read.
        ValueError: It holds no path.
    """
    with open_regular(pointer) as file:
        named = Path(os.fsdecode(file.read(LONGEST_PATH).strip()))
    if not named.name:
        raise ValueError('no name in it')
    moved = pointer.with_name(named.name)
    elsewhere = not named.exists() or (named.parent / pointer.name).exists()
    if elsewhere:
        moved.stat()
    return moved if elsewhere else named
