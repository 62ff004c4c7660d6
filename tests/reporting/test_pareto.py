"""The front has what nothing beats, panels have what was measured, and numbers can be read."""

from __future__ import annotations

from reporting.pareto import Point, pareto_figure, pareto_figures, pareto_front

POINTS = [
    Point("all", 1000, {"CA": 90.0, "AdvA": 50.0}, seconds=9.0),
    Point("half", 500, {"CA": 88.0, "AdvA": 51.0}, seconds=4.0),
    Point("worse", 600, {"CA": 87.0}),
]


def test_the_front_has_what_nothing_beats():
    assert pareto_front([(3, 80), (1, 50), (2, 70), (2, 71), (4, 80), (5, 79), (1, 50)]) == [(1, 50), (2, 71), (3, 80)]
    assert pareto_front([]) == []


def test_a_panel_for_each_cost_with_the_points_that_have_it():
    relus, seconds = pareto_figure(POINTS, "wan, estimated (s)").axes
    assert (relus.get_xlabel(), seconds.get_xlabel()) == ("ReLUs kept", "wan, estimated (s)")
    lines = {line.get_label(): list(line.get_xdata()) for line in relus.lines}
    assert lines["CA"] == [1000, 500, 600]
    assert lines["AdvA"] == [1000, 500]
    assert "NPA" not in lines
    assert [list(line.get_xdata()) for line in seconds.lines if line.get_label() == "CA"] == [[9.0, 4.0]]
    fronts = [line.get_xydata().tolist() for line in relus.lines if line.get_label().startswith("_")]
    assert fronts == [[[500, 88], [1000, 90]]]  # of AdvA one network is best at any cost, so there is no line


def test_a_figure_for_each_cost_whose_words_are_not_cut_off():
    figures = pareto_figures(POINTS)
    assert [figure.axes[0].get_xlabel() for figure in figures] == ["ReLUs kept", "Private inference of an image (s)"]
    for figure in figures:
        figure.draw_without_rendering()
        label = figure.axes[0].xaxis.label.get_window_extent()
        assert 0 <= label.x0 < label.x1 <= figure.bbox.width


def test_without_seconds_there_is_one_panel():
    assert len(pareto_figure(POINTS[2:]).axes) == 1


def test_numbers_of_networks_do_not_cover_each_other():
    points = [Point(str(kept), kept, {"CA": 90.0, "AdvA": 89.5}, kept / 10) for kept in (10, 10, 11, 99, 98, 97)]
    figure = pareto_figure(points)
    for axes in figure.axes:
        boxes = [note.get_window_extent() for note in axes.texts]
        assert len(boxes) == 2 * len(points)
        assert not any(a.overlaps(b) for n, a in enumerate(boxes) for b in boxes[:n])
