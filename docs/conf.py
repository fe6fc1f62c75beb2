"""Settings of the documentation: `make docs` builds it into docs/_build/html."""

import re

from flsl_mm import __version__

project = 'flsl_mm'
author = 'the flsl_mm authors'
copyright = author
release = __version__

extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon', 'sphinx.ext.viewcode']
exclude_patterns = ['_build']

# Links to headings, as GitHub makes them.
myst_heading_anchors = 4

autodoc_member_order = 'bysource'
autodoc_typehints = 'description'
autodoc_typehints_description_target = 'documented'

html_theme = 'furo'
html_title = f'flsl_mm {release}'
html_show_copyright = False
html_static_path = ['_static']
html_css_files = ['tables.css']


def adapt_links(app, page: str, source: list[str]) -> None:
    """Turn links that are written for GitHub into what suits the built pages.

    A link named after its page gets the page's title; one that leaves docs/ becomes the path in the
    checkout.
    """
    upwards = '../' * (page.count('/') + 1)
    text = re.sub(r'\[[\w/]+\.(?:md|rst)\]\(', '[](', source[0])
    source[0] = re.sub(rf'\[[^\]\n]+\]\({re.escape(upwards)}([^)\s]+)\)', r'`\1`', text)


def setup(app) -> None:
    """Called by Sphinx."""
    app.connect('source-read', adapt_links)
