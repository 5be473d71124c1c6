"""A figure without a window, which a notebook shows as a picture; a module of its own, as matplotlib loads slowly."""

from __future__ import annotations

from io import BytesIO

from matplotlib.figure import Figure

DPI = 120


class ShownFigure(Figure):
    """A figure that needs no pyplot, and so nothing of the process that it is in."""

    def _repr_png_(self) -> bytes:
        """Return the picture for a notebook."""
        picture = BytesIO()
        self.savefig(picture, format="png")
        return picture.getvalue()
