import argparse

import pytest
from mmengine.config import DictAction

from flsl_mm.apis.command_line import OptionsAction, read_value


def parse(*texts: str, action=OptionsAction) -> dict:
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=action)
    return parser.parse_args(['--cfg-options', *texts]).cfg_options


@pytest.mark.parametrize(
    'text', ['3', '-1e-3', 'true', 'None', '', 'a,b', '[1,(2,3),x]', '(2)', '[]', 'cat/dog', '1,2']
)
def test_plain_values_are_read_as_by_mmengine(text):
    assert repr(parse(f'key={text}')) == repr(parse(f'key={text}', action=DictAction))


@pytest.mark.parametrize(
    'text, value',
    [
        ('/my images', '/my images'),
        ('"/data/a,b"', '/data/a,b'),
        ("'007'", '007'),
        ('["a b", 3]', ['a b', 3]),
        ("[{'type': 'BoxKNN', 'ks': [5]}]", [dict(type='BoxKNN', ks=[5])]),
        ("[a,'b']", ['a', 'b']),
        ("'a b','c'", ['a b', 'c']),
        ('{"a": [True, None]}', dict(a=[True, None])),
        ('a=b', 'a=b'),
        ("it's", "it's"),
    ],
)
def test_blanks_stay_and_quotes_keep_a_text_whole(text, value):
    assert read_value(text) == value


TEXTS = ['key', "key=[dict(type='BoxKNN',ks=[5])]", 'key=a),(b']
TEXTS += ['key={"a": true}', 'key={a:1,b:2}', 'key=[{"a": null}]', 'key={{}}']


@pytest.mark.parametrize('text', TEXTS)
def test_what_cannot_be_read_is_refused_in_one_line(text, capsys):
    with pytest.raises(SystemExit):
        parse(text)
    assert repr(text) in capsys.readouterr().err.splitlines()[-1]
