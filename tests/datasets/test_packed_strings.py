import gc
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flsl_mm.datasets.packed_strings import PackedStrings


@given(st.lists(st.text(st.characters(exclude_categories=['Cs']))))
def test_it_is_a_sequence_of_the_strings(strings):
    packed = PackedStrings(strings)
    assert list(packed) == strings and len(packed) == len(strings)
    assert [packed[i - len(strings)] for i in range(len(strings))] == strings
    again = PackedStrings.from_arrays(packed.data, packed.ends)
    assert list(again) == strings
    assert list(pickle.loads(pickle.dumps(packed))) == strings


def test_file_names_that_are_no_text_survive():
    name = os.fsdecode(b'caf\xe9.jpg')
    assert list(PackedStrings([name])) == [name]


@pytest.mark.parametrize('index', [2, -3])
def test_there_is_nothing_outside_it(index):
    with pytest.raises(IndexError, match=f'string {index} of 2'):
        PackedStrings(['a', 'b'])[index]


def test_it_has_no_objects_for_its_strings():
    packed = PackedStrings(f'class/{i:06}.jpg' for i in range(1000))
    assert packed.data.nbytes + packed.ends.nbytes == 1000 * (16 + 8)
    parts = gc.get_referents(packed.__dict__)
    assert {type(part) for part in parts} <= {str, np.ndarray}


def own_memory():
    """Bytes that this process shares with no other."""
    lines = Path('/proc/self/smaps_rollup').read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith('Private_')) * 1024


def growth_in_a_forked_process(names, epochs=3):
    """Bytes that a child takes for itself by reading all names again and again."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        found = []
        for _ in range(epochs + 1):
            for i in range(len(names)):
                names[i]
            found.append(own_memory())
        os.write(writer, json.dumps(found).encode())
        os._exit(0)
    os.wait()
    found = json.loads(os.read(reader, 65536))
    return found[-1] - found[0], found[0]


@pytest.mark.skipif(not Path('/proc/self/smaps_rollup').exists(), reason='Linux tells it')
def test_a_worker_s_memory_does_not_grow_over_epochs():
    names = [f'n01440764/n01440764_{i:06}.JPEG' for i in range(100_000)]
    packed = PackedStrings(names)
    growth, first = growth_in_a_forked_process(packed)
    assert growth < 1 << 20
    # a list's strings are copied as soon as a worker looks at them
    _, first_of_list = growth_in_a_forked_process(names)
    assert first_of_list - first > 4 << 20
