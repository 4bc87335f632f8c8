"""Images that a model drew, as HTML that holds them."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence

_IMAGE = (
    '<img alt="image by the model" src="data:image/png;base64,{data}" '
    'style="max-width:100%">'
)
_IMAGES = re.compile(re.escape(_IMAGE).replace(r"\{data\}", "[A-Za-z0-9+/=]*"))


def images_html(images: Sequence[bytes]) -> str:
    """Return PNG files as HTML; the caller has checked that they are PNG."""
    made = (_IMAGE.format(data=b64encode(png).decode("ascii")) for png in images)
    return "".join(made)


def without_images(page: str) -> str:
    """Return a page without the images that ``images_html`` made."""
    return _IMAGES.sub("", page)
