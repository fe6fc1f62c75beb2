"""Data and models that do not fit, found before the first iteration."""

from types import SimpleNamespace

import pytest
from mmengine.dataset import BaseDataset
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader

from flsl_mm.engine.hooks import DataFitHook
from flsl_mm.utils.errors import ConfigError, DataError


def head(num_classes: int) -> nn.Module:
    module = nn.Identity()
    module.num_classes = num_classes
    return module


class Images(BaseDataset):
    """Images of given sizes."""

    METAINFO = dict(classes=('a', 'b', 'c'))

    def load_data_list(self) -> list[dict]:
        stated = self.metainfo.get('stated', {})
        return [dict(img_path=path, **stated) for path in self.ann_file.split(',')]

    def _join_prefix(self) -> None:
        pass


@pytest.fixture
def make_runner(tmp_path):
    """What a runner has of data and model."""

    def make(sizes=((8, 6), (8, 6)), batch_size=1, stated=(), **heads):
        paths = [str(tmp_path / f'{i}.png') for i in range(len(sizes))]
        for path, size in zip(paths, sizes):
            Image.new('RGB', size).save(path)
        images = Images(ann_file=','.join(paths), metainfo=dict(stated=dict(stated)))
        loader = DataLoader(images, batch_size)
        loaders = dict(train_dataloader=loader, val_dataloader=loader, test_dataloader=loader)
        return SimpleNamespace(model=nn.ModuleDict(heads), val_loop=True, **loaders)

    return make


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(decode_head=head(3)), None),
        (dict(rpn_head=head(1), bbox_head=head(3)), None),
        (
            dict(decode_head=head(2)),
            r'model\.decode_head\.num_classes is 2, .* 3 classes .*a, b, c',
        ),
        (dict(roi=nn.ModuleDict(dict(bbox_head=head(80)))), r'model\.roi\.bbox_head\.num_classes'),
        (dict(decode_head=head(3), sizes=((8, 6), (6, 8))), None),
        (dict(decode_head=head(3), batch_size=2), None),
        (
            dict(decode_head=head(3), sizes=((8, 6), (6, 8)), batch_size=2),
            r'_dataloader\.batch_size=2 needs .*1\.png is 6 x 8 pixels, others 8 x 6; .* to 1',
        ),
        (dict(bbox_head=head(3), sizes=((8, 6), (6, 8)), batch_size=2), None),  # padded
    ],
)
def test_what_does_not_fit_is_one_line_that_names_the_entry(make_runner, options, message):
    runner = make_runner(**options)
    for check in (DataFitHook().before_train, DataFitHook().before_test):
        if message is None:
            check(runner)
            continue
        with pytest.raises(ConfigError, match=message) as error:
            check(runner)
        assert '\n' not in str(error.value)


@pytest.mark.parametrize(
    'width, height, fits', [(8, 6, True), (6, 8, True), (8, 7, False), (16, 12, False)]
)
def test_images_of_validation_have_the_stated_size_or_are_turned(
    make_runner, width, height, fits, tmp_path
):
    runner = make_runner(stated=dict(width=width, height=height))
    if fits:
        DataFitHook().before_train(runner)
        return
    message = rf'0\.png is 8 x 6 pixels, its annotations are for {width} x {height}'
    with pytest.raises(DataError, match=message):
        DataFitHook().before_train(runner)


@pytest.mark.parametrize('content', [b'', b'no image', None])
def test_an_image_of_validation_that_is_none_is_named_before_training(
    make_runner, content, tmp_path
):
    runner = make_runner(stated=dict(width=8, height=6))
    (tmp_path / '1.png').unlink()
    if content is not None:
        (tmp_path / '1.png').write_bytes(content)
    with pytest.raises(DataError, match=r'failed to load image: .*1\.png'):
        DataFitHook().before_train(runner)


def test_a_mask_of_validation_has_the_size_of_its_image(make_runner, tmp_path):
    Image.new('L', (8, 7)).save(tmp_path / 'mask.png')
    runner = make_runner(stated=dict(seg_map_path=str(tmp_path / 'mask.png')))
    with pytest.raises(DataError, match=r'mask .*mask\.png is 8 x 7 pixels, its image 8 x 6'):
        DataFitHook().before_train(runner)
