import pytest
from hypothesis import given
from hypothesis import strategies as st

from flsl_mm.datasets.samplers import ResumableSampler


def of_rank(rank: int, world_size: int, size: int, epoch: int = 0) -> ResumableSampler:
    sampler = ResumableSampler(range(size), seed=3)
    sampler.rank, sampler.world_size = rank, world_size
    sampler.set_epoch(epoch)
    return sampler


@given(size=st.integers(1, 40), world_size=st.integers(1, 5), epoch=st.integers(0, 3))
def test_processes_share_every_sample_equally(size, world_size, epoch):
    shares = [list(of_rank(r, world_size, size, epoch)) for r in range(world_size)]
    assert len({len(share) for share in shares}) == 1
    assert len(shares[0]) == len(of_rank(0, world_size, size))
    keys = [key for share in shares for key in share]
    assert {key.index for key in keys} == set(range(size))
    assert len({key.seed for key in keys}) == len(keys)


def test_every_epoch_has_an_order_and_seeds_of_its_own():
    epochs = [list(of_rank(0, 1, 30, epoch)) for epoch in (0, 1)]
    assert [k.index for k in epochs[0]] != [k.index for k in epochs[1]]
    assert not {k.seed for k in epochs[0]} & {k.seed for k in epochs[1]}


@pytest.mark.parametrize('start', [0, 4, 10])
def test_starting_later_leaves_the_rest_unchanged(start):
    sampler = of_rank(1, 3, 30)
    whole = list(sampler)
    sampler.set_start(start)
    assert list(sampler) == whole[start:]
    assert len(sampler) == 10
    sampler.set_epoch(1)
    assert len(list(sampler)) == 10


def test_without_shuffling_the_order_is_that_of_the_data():
    assert [k.index for k in ResumableSampler(range(5), shuffle=False)] == list(range(5))
