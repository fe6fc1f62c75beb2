import base64
import io
import re
from html.parser import HTMLParser

from matplotlib.figure import Figure
from PIL import Image

from flsl_mm.visualization.html_report import Cell, HtmlReport


class Balance(HTMLParser):
    """Fails where a tag is closed that is not the last opened."""

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in ('meta', 'img'):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def make_page() -> str:
    page = HtmlReport('A < B')
    page.heading('Tables & figures')
    page.paragraph('1 < 2', lead=True)
    page.table(['', 'x'], [['row', Cell('3.5', 'three & a half', best=True)]])
    figure = Figure(figsize=(1, 1))
    figure.subplots().plot([0, 1])
    page.figure(figure, 'a "line"')
    page.commands(['python a.py --x=<y>'], 'one command')
    return page.text()


def test_the_page_is_well_formed_and_escaped():
    text = make_page()
    parser = Balance()
    parser.feed(text)
    assert parser.open == []
    assert '<h1>A &lt; B</h1>' in text and '--x=&lt;y&gt;' in text
    assert 'three &amp; a half' in text and 'class="best"' in text


def test_pictures_are_inside_and_nothing_is_outside():
    text = make_page()
    [data] = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (130, 130)
    assert not re.search(r'(src|href)\s*=\s*"(?!data:)|url\(|@import|<script|<link', text)
