"""What libraries print and warn of at the start is kept, whole, and shown to nobody."""

import sys
import warnings

from flsl_mm.utils.library_remarks import (
    keep_library_remarks,
    real_stdout,
    take_library_remarks,
)


def test_what_is_printed_and_warned_of_is_kept_once_until_it_is_taken(capsys):
    before = sys.stdout, warnings.showwarning
    keep_library_remarks()
    keep_library_remarks()  # twice is once
    try:
        print('Could not import something.\n\nCould not import something.')
        with warnings.catch_warnings():
            warnings.simplefilter('always')
            warnings.warn('an old name', DeprecationWarning, stacklevel=1)
        print('seen', file=real_stdout())
    finally:
        kept = take_library_remarks()
    assert kept[0] == 'Could not import something.'
    assert len(kept) == 2 and kept[1].endswith('DeprecationWarning: an old name')
    assert (sys.stdout, warnings.showwarning) == before
    assert take_library_remarks() == []
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ('seen\n', '')
