"""The style of every figure: sizes, type, colours, markers and dashes, letters, questions.

Theory is a line, measurement is points. Figures have their final size, one column (85 mm) or two
(170 mm), with type of 7 points and more. Colours are told apart in grey by dashes and markers too.
"""

from __future__ import annotations

import re
import textwrap
from string import ascii_lowercase
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = [
    "DASHES",
    "LINE",
    "MARKERS",
    "MM",
    "NARROW",
    "OKABE_ITO",
    "STYLE",
    "WIDE",
    "ask",
    "look",
    "name_panel",
    "panel_letter",
    "wrapped",
]

MM = 1 / 25.4  # inches
NARROW, WIDE = 85 * MM, 170 * MM  # one column of a journal, and two
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)), (0, (8, 3)), "-")

STYLE: dict[Any, Any] = {
    "font.size": 7.5,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7.5,
    "figure.titlesize": 7.5,
    "legend.fontsize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.direction": "in",
    "ytick.direction": "in",
    "legend.frameon": False,
    "legend.handlelength": 2.2,
    "legend.columnspacing": 1.2,
    "legend.borderpad": 0.2,
    "svg.hashsalt": "ctebm",
}

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")

_LETTER = 1.4  # mm, the width of a letter in the mean
_PRIVATE = 0xE000  # from here on come letters that no text has
LINE = 3.7 * MM  # height of a line of text


def ask(figure: Figure, question: str, see: str = "") -> None:
    r"""Write above a figure what it asks, and what to see in it.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from ctebm.figures.style import ask
    >>> figure = Figure(figsize=(6.7, 2), layout="constrained")
    >>> ask(figure, "How far?", "Points: measured.")
    >>> figure.get_suptitle()
    'How far?\nPoints: measured.'
    """
    width = figure.get_size_inches()[0]
    lines = wrapped(question, width) + wrapped(see, width)
    if lines:
        figure.suptitle("\n".join(lines), x=0.01, ha="left")


def panel_letter(i: int) -> str:
    """Return the letter of the i-th panel; after z come aa, ab and so on.

    Examples
    --------
    >>> from ctebm.figures.style import panel_letter
    >>> panel_letter(0), panel_letter(25), panel_letter(26), panel_letter(53)
    ('a', 'z', 'aa', 'bb')
    """
    before, last = divmod(i, len(ascii_lowercase))
    return (panel_letter(before - 1) if before else "") + ascii_lowercase[last]


def name_panel(ax: Axes, i: int | None, title: str, width: float) -> None:
    r"""Give the i-th panel of a figure its letter and its title, in lines of a width in inches.

    A panel that is alone has no letter: None.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from ctebm.figures.style import name_panel
    >>> ax = Figure().subplots()
    >>> name_panel(ax, 1, "all layers", width=2)
    >>> ax.get_title("left")
    '$\\mathbf{b}$  all layers'
    """
    letter = "" if i is None else f"$\\mathbf{{{panel_letter(i)}}}$  "
    ax.set_title(letter + "\n".join(wrapped(title, 0.62 * width)), loc="left")


def wrapped(text: str, width: float) -> list[str]:
    """Return the lines of a text in a width in inches, with every formula on one line.

    Examples
    --------
    >>> from ctebm.figures.style import wrapped
    >>> wrapped("Points: measured. Lines: theory.", width=1)
    ['Points: measured.', 'Lines: theory.']
    """
    formulas = re.findall(r"\$[^$]*\$", text)
    for i, formula in enumerate(formulas):  # a word of about the letters that it shows
        shown = len(re.findall(r"\\?\w+|=", formula)) or 1
        text = text.replace(formula, chr(_PRIVATE + i) * shown, 1)
    lines = textwrap.wrap(text, int(width / (_LETTER * MM)), break_long_words=False)
    for i, formula in enumerate(formulas):
        lines = [re.sub(f"{chr(_PRIVATE + i)}+", lambda _, f=formula: f, line) for line in lines]
    return lines


def look(colour: int, *, line: bool) -> dict[str, Any]:
    """Return how matplotlib draws the line of a theory, or the points of a measurement.

    Examples
    --------
    >>> from ctebm.figures.style import look
    >>> look(1, line=True)["ls"], look(1, line=False)["marker"]
    ('--', 's')
    """
    shown: dict[str, Any] = {"color": OKABE_ITO[colour % 7]}
    if line:
        return shown | {"lw": 1.0, "ls": DASHES[colour % len(DASHES)]}
    return shown | {"marker": MARKERS[colour % len(MARKERS)], "ms": 3.4, "mew": 0, "lw": 0}
