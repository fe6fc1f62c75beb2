import pytest

from flsl_mm.engine.command_line import split_name


@pytest.mark.parametrize(
    'text, expected',
    [
        ('FLSL=runs/a.pth', ('FLSL', 'runs/a.pth')),
        ('runs/lr=1/a.pth', (None, 'runs/lr=1/a.pth')),
        ('random:deit-small/16', (None, 'random:deit-small/16')),
        ('before=random:a=b.pth', ('before', 'random:a=b.pth')),
        ('a.pth', (None, 'a.pth')),
    ],
)
def test_a_name_is_what_is_before_an_equals_sign_of_no_path(text, expected):
    assert split_name(text) == expected


def test_a_file_with_an_equals_sign_in_its_name_has_no_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'lr=1.pth').touch()
    assert split_name('lr=1.pth') == (None, 'lr=1.pth')
