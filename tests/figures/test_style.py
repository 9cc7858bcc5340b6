"""What every figure says in the same way."""

from matplotlib.figure import Figure

from ctebm.figures.style import MM, ask, look, name_panel, panel_letter, wrapped


def test_text_is_broken_to_the_width_of_the_figure():
    text = "the gradient arrives " * 20
    lines = wrapped(text, 85 * MM)
    assert " ".join(lines) == text.strip()
    assert max(map(len, lines)) <= len(max(wrapped(text, 170 * MM), key=len)) / 1.8


def test_no_line_ends_within_a_formula():
    text = r"weight change, $\propto \Delta s$, at $\,$ and $a = b_{i - 1}$, $a = b_{i - 1}$"
    for width in range(8, 60, 4):
        lines = wrapped(text, width * MM)
        assert " ".join(lines) == text
        assert all(line.count("$") % 2 == 0 for line in lines)


def test_a_figure_without_a_question_has_none():
    figure = Figure()
    ask(figure, "")
    assert not figure.get_suptitle()
    name_panel(figure.subplots(), 2, "title", 3)
    assert figure.axes[0].get_title("left") == r"$\mathbf{c}$  title"


def test_theory_has_no_marker_and_a_measurement_no_line():
    assert "marker" not in look(3, line=True)
    assert look(3, line=False)["lw"] == 0
    assert look(3, line=True)["color"] == look(3, line=False)["color"]


def test_panels_beyond_z_have_two_letters():
    assert [panel_letter(i) for i in (0, 25, 26, 51, 52, 702)] == [
        "a", "z", "aa", "az", "ba", "aaa",
    ]  # fmt: skip
    figure = Figure()
    name_panel(ax := figure.subplots(), 26, "", width=2)
    figure.draw_without_rendering()
    assert ax.get_title("left").startswith(r"$\mathbf{aa}$")
