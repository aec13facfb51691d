"""The plot of growth."""

from xml.etree import ElementTree

from bench.plot import drawn, relative

FIGURES = {
    "queued_us_at_0": {"median": 80.0},
    "queued_us_at_970000": {"median": 100.0},
    "queued_us_at_97000": {"median": 88.0},
    "queued_ratio": {"median": 1.25},
    "lanes_us_at_0": {"median": 50.0},
    "lanes_us_at_10": {"median": 50.0},
    "lanes_us_at_100": {"median": 500.0},
}


def test_costs_are_relative_to_none_and_in_the_order_of_size() -> None:
    assert relative(FIGURES) == {"queued": [1.0, 1.1, 1.25], "lanes": [1.0, 1.0, 10.0]}


def test_the_picture_names_every_line_with_its_last_cost_and_stays_inside() -> None:
    picture = ElementTree.fromstring(drawn(relative(FIGURES)))

    texts = [each.text for each in picture.iter() if each.tag.endswith("text")]
    lines = [each.get("points", "") for each in picture.iter() if each.tag.endswith("polyline")]

    assert "1,000,000 queued tasks: 1.25" in texts
    assert "100 lanes: 10.00" in texts
    assert all(float(point.split(",")[1]) >= 20 for line in lines for point in line.split())
