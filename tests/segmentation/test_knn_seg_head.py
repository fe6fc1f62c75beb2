"""Segmentation by nearest tokens of a bank."""

import pytest
import torch

pytest.importorskip('mmseg')
from mmengine.structures import PixelData  # noqa: E402
from mmseg.structures import SegDataSample  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from flsl_mm.segmentation.knn_seg_head import KNNSegHead  # noqa: E402


def build(bank_size: int, **kwargs) -> KNNSegHead:
    kwargs = dict(dict(tokens_per_image=16, num_neighbors=1, num_classes=5), **kwargs)
    return KNNSegHead(8, bank_size, in_index=0, **kwargs)


def samples(labels: torch.Tensor) -> list[SegDataSample]:
    return [SegDataSample(gt_sem_seg=PixelData(data=mask[None])) for mask in labels]


def test_tokens_in_the_bank_get_their_own_label():
    torch.manual_seed(0)
    maps = torch.randn(2, 8, 4, 4)
    labels = torch.randint(5, (2, 4, 4))
    head = build(bank_size=40)  # larger than needed: places without token have no vote
    masks = labels.repeat_interleave(16, 1).repeat_interleave(16, 2)
    losses = head.loss([maps], samples(masks), None)
    assert losses['loss_none'] == 0 and losses['loss_none'].requires_grad
    assert head([maps]).argmax(1).equal(labels)


def test_labelled_tokens_come_first_and_ignored_ones_never_vote():
    maps = torch.randn(1, 8, 4, 4)
    masks = torch.full((1, 64, 64), 255)
    masks[:, :16, :32] = 3  # two patches
    head = build(bank_size=4, tokens_per_image=4)
    head.loss([maps], samples(masks), None)
    assert sorted(head.bank_labels.tolist()) == [3, 3, 255, 255]
    assert (head([maps]).argmax(1) == 3).all()


def test_a_full_bank_replaces_its_oldest_tokens():
    head = build(bank_size=6, tokens_per_image=4)
    for label in (0, 1):
        head.loss([torch.randn(1, 8, 2, 2)], samples(torch.full((1, 32, 32), label)), None)
    assert head.bank_labels.tolist() == [1, 1, 0, 0, 1, 1]


class Written(TorchDispatchMode):
    """Notes the places that are assigned to by index."""

    def __init__(self) -> None:
        super().__init__()
        self.places = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten.index_put_.default:
            self.places.append(args[1][0].tolist())
        return function(*args, **(kwargs or {}))


def test_of_more_tokens_than_the_bank_holds_the_last_are_kept(monkeypatch):
    monkeypatch.setattr(torch, 'rand_like', lambda x: torch.linspace(0, 1, x.numel()).view_as(x))
    head = build(bank_size=6, num_classes=16)
    maps, labels = torch.randn(1, 8, 4, 4), torch.arange(16).view(1, 4, 4)
    masks = labels.repeat_interleave(16, 1).repeat_interleave(16, 2)
    with Written() as written:
        for _ in range(2):
            head.loss([maps], samples(masks), None)
    # Assigned twice, a place could get the token of one and the label of another, on GPUs.
    assert len(written.places) == 4 and all(len(p) == len({*p}) == 6 for p in written.places)
    kept = head.bank_labels.long()
    assert sorted(kept.tolist()) == [10, 11, 12, 13, 14, 15]
    tokens = torch.nn.functional.normalize(maps[0].flatten(1).T, dim=1)
    torch.testing.assert_close(head.bank.float(), tokens[kept], atol=1e-3, rtol=0)


def test_an_empty_bank_is_an_error():
    with pytest.raises(ValueError, match='no labelled token: run tools/train.py first'):
        build(bank_size=4)([torch.randn(1, 8, 2, 2)])
