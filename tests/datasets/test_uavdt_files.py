"""The official text files."""

import gzip

import numpy as np
import pytest

from flsl_mm.datasets.uavdt_files import (
    CLASSES,
    format_detections,
    parse_frame_name,
    read_detections,
    read_frame_list,
    read_ground_truth,
    read_rows,
)

GOOD = '1,-1,2,3,4,5,.5,1,-1'


@pytest.mark.parametrize(
    'line, problem',
    [
        ('1,-1,2,3,4,5', '6 columns, expected 7 or more'),
        ('1,-1,2,3,4,5,.5', '7 columns, the first line has 9'),
        ('1,-1,2,3,4,five,.5,1,-1', 'not comma-separated numbers'),
        ('1 -1 2 3 4 5 .5 1 -1', '1 columns, expected 7 or more'),
        ('1,-1,2,3,4,5,nan,1,-1', 'not finite'),
        ('0,-1,2,3,4,5,.5,1,-1', 'frames are whole numbers from 1'),
        ('1.5,-1,2,3,4,5,.5,1,-1', 'frames are whole numbers from 1'),
        ('1008,-1,2,3,4,5,.5,1,-1', 'the video has 1007 frames'),
        ('1,-1,2,3,-4,5,.5,1,-1', 'a width or height is negative'),
        ('1,-1,2,3,4,-5,.5,1,-1', 'a width or height is negative'),
        ('1,-1,2,3,4,5,0,9,1,-1', '10 columns, the first line has 9'),
        ('1;-1;2;3;4;5;.5;1;-1', '1 columns, expected 7 or more'),
        ('frame,id,left,top,width,height,score,a,b', 'not comma-separated numbers'),
        ('"1","-1","2","3","4","5",".5","1","-1"', 'not comma-separated numbers'),
        ('0x1,-1,2,3,4,5,.5,1,-1', 'not comma-separated numbers'),
        ('1_0,-1,2,3,4,5,.5,1,-1', 'not comma-separated numbers'),
        ('1,,2,3,4,5,.5,1,-1', 'not comma-separated numbers'),
        ('1,-1,2,3,4,5,50%,1,-1', 'not comma-separated numbers'),
        ('1,-1,-inf,3,4,5,.5,1,-1', 'not finite'),
        ('1e30,-1,2,3,4,5,.5,1,-1', 'the video has 1007 frames'),
        ('-1,-1,2,3,4,5,.5,1,-1', 'frames are whole numbers from 1'),
        ('# a comment', '1 columns, expected 7 or more'),
    ],
)
def test_a_malformed_line_is_named(tmp_path, line, problem):
    (tmp_path / 'M0203.txt').write_text(f'{GOOD}\n\n{line}\n{GOOD}\n')
    with pytest.raises(ValueError) as error:
        read_detections(tmp_path, 'M0203')
    assert str(error.value) == f'{tmp_path / "M0203.txt"}, line 3: {problem}: {line!r}'


@pytest.mark.parametrize(
    'line, problem',
    [
        ('1,-1,2,5,3,5,4,5,5,5,0,9,1,-1', '14 columns, at most 9 are known'),
        ('1,-1,2,3,4,5,0,9,1,-1', '10 columns, at most 9 are known'),
        ('1,-1,2,3,4,5,0,9', 'the last two columns are whole numbers, the first of them'),
    ],
)
def test_decimal_commas_are_no_other_columns(tmp_path, line, problem):
    (tmp_path / 'M0203.txt').write_text(f'{line}\n{line}\n')
    with pytest.raises(ValueError, match=rf'M0203.txt, line 1: {problem} .*decimals have points'):
        read_detections(tmp_path, 'M0203')


def test_a_category_that_is_none_is_named(tmp_path):
    (tmp_path / 'M0203_gt_whole.txt').write_text('1,1,2,3,4,5,1,1,1\n1,2,2,3,4,5,1,1,4\n')
    with pytest.raises(ValueError, match=r'line 2: the category is none of 1-3 \(car, truck, bus'):
        read_ground_truth(tmp_path, 'M0203')


def test_files_may_be_empty_compressed_or_from_windows(tmp_path):
    for name, content in (
        ('empty', b''),
        ('blank', b'\n \n'),
        ('crlf', GOOD.encode() + b'\r\n'),
        ('mark', b'\xef\xbb\xbf' + GOOD.encode()),
    ):
        (tmp_path / f'{name}.txt').write_bytes(content)
    with gzip.open(tmp_path / 'zip.txt.gz', 'wt') as file:
        file.write(GOOD)
    assert read_detections(tmp_path, 'empty').shape == (0, 9)
    assert read_detections(tmp_path, 'blank').shape == (0, 9)
    for name in ('crlf', 'mark', 'zip'):
        assert read_detections(tmp_path, name).tolist() == [[1, -1, 2, 3, 4, 5, 0.5, 1, -1]]


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / 'M0203.txt.gz').write_bytes(gzip.compress(GOOD.encode() * 99)[:-20])
    with pytest.raises(ValueError, match='M0203.txt.gz: cannot be read as text'):
        read_detections(tmp_path, 'M0203')
    (tmp_path / 'M0205.txt').write_bytes(b'\xff\xfe\x00')
    with pytest.raises(ValueError, match='M0205.txt: cannot be read as text'):
        read_detections(tmp_path, 'M0205')


def test_detections_without_a_category_have_none(tmp_path):
    (tmp_path / 'M0203.txt').write_text('1,-1,2,3,4,5,.5\n')
    assert read_detections(tmp_path, 'M0203')[0, 7:].tolist() == [-1, -1]


def test_what_is_written_is_read_back(tmp_path):
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 1000, (50, 4)).astype(np.float32)
    corners[:, 2:] += corners[:, :2]
    frames, scores = rng.integers(1, 9, 50), rng.uniform(0, 1, 50).astype(np.float32)
    labels = rng.integers(0, 3, 50)
    path = tmp_path / 'M0203.txt'
    path.write_text(format_detections(frames, corners, scores, labels))
    rows = read_rows(path, 9, CLASSES)
    np.testing.assert_array_equal(rows[:, 0], frames)
    np.testing.assert_allclose(rows[:, 2:4], corners[:, :2], atol=6e-4)
    np.testing.assert_allclose(rows[:, 4:6], corners[:, 2:] - corners[:, :2], atol=6e-4)
    np.testing.assert_array_equal(rows[:, 6].astype(np.float32), scores)
    np.testing.assert_array_equal(rows[:, 8], labels + 1)


@pytest.mark.parametrize(
    'text', ['M0203/img000012.jpg', 'M0203_img000012', '/data/UAV-benchmark-M/M0203/img000012.png']
)
def test_a_frame_has_many_names(text):
    assert parse_frame_name(text) == ('M0203', 12)
    assert parse_frame_name('M0203') is None


def test_a_frame_list_selects_frames(tmp_path):
    path = tmp_path / 'frames.txt'
    path.write_text('M0203/img000001.jpg\n\nM0203/img000003.jpg\nM0205_img000001\n')
    assert read_frame_list(path) == {'M0203': {1, 3}, 'M0205': {1}}
    path.write_text('M0203/img000001.jpg\n000002.jpg\n')
    with pytest.raises(ValueError, match="frames.txt, line 2: names no frame .*: '000002.jpg'"):
        read_frame_list(path)
    path.write_text('\n')
    with pytest.raises(ValueError, match='frames.txt: lists no frames'):
        read_frame_list(path)
    with pytest.raises(FileNotFoundError, match='there is no frame list'):
        read_frame_list(tmp_path / 'none.txt')
