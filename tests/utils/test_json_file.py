import json

from flsl_mm.utils.files import write_json


def test_json_has_null_where_there_is_no_number(tmp_path):
    path = tmp_path / 'new' / 'numbers.json'
    write_json(path, dict(a=[1.5, float('nan')], b=dict(c=(float('inf'), 'x', None, True))))
    assert json.loads(path.read_text()) == dict(a=[1.5, None], b=dict(c=[None, 'x', None, True]))
