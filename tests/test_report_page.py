"""The page in a browser: it draws itself without a network, and shows the numbers of the files."""

import html
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import Page, browser, chromium_path
from matplotlib import rcParamsDefault
from matplotlib.colors import to_hex
from run_folders import comparison_folder, training_folder

from metagnn.cli import main
from metagnn.comparison import DEFAULT_POLICIES
from metagnn.files import write_json
from metagnn.plots import STYLES, styles
from metagnn.report import Report, collect
from metagnn.report_page import render, script_json

EVIL = "</script><script>document.title='broken'</script><img src=x onerror=alert(1)>\u2028&"
LOAD_SECONDS = 2.0
MAX_BYTES = 3e6


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    path = chromium_path()
    if path is None and os.environ.get("METAGNN_REQUIRE_BROWSER") == "1":
        pytest.fail("METAGNN_REQUIRE_BROWSER=1, but there is no Chromium to test the page in")
    if path is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    with browser(path, tmp_path_factory.mktemp("profile")) as opened:
        opened.call(
            "Network.emulateNetworkConditions",
            offline=True,
            latency=0,
            downloadThroughput=0,
            uploadThroughput=0,
        )
        opened.resize(1280, 900)
        yield opened
        assert opened.errors() == []
        assert [url for url in opened.requests() if not url.startswith("file:")] == []


def _tip(page: Page) -> dict[str, str]:
    """Rows of the tip by key, and its title; empty where none is shown."""
    found: dict[str, str] = page.evaluate(
        """(() => {
          const tip = document.getElementById("tip");
          if (tip.hidden) return {};
          const rows = [...tip.querySelectorAll("dd")].map((d) => [d.dataset.key, d.textContent]);
          return {title: tip.querySelector("b").textContent, ...Object.fromEntries(rows)};
        })()"""
    )
    return found


def _middle(page: Page, selector: str) -> tuple[float, float]:
    """Middle of an element in the window, once it is scrolled there."""
    x, y = page.evaluate(
        f"""(() => {{
          const found = document.querySelector({json.dumps(selector)});
          found.scrollIntoView({{block: "center"}});
          const box = found.getBoundingClientRect();
          return [box.left + box.width / 2, box.top + box.height / 2];
        }})()"""
    )
    return x, y


def _click(page: Page, x: float, y: float) -> None:
    for kind in ("mousePressed", "mouseReleased"):
        page.mouse(kind, x, y, button="left", clickCount=1)


def _choose(page: Page, select: str, value: str) -> None:
    page.evaluate(
        f"""(() => {{
          const found = document.getElementById({json.dumps(select)});
          found.value = {json.dumps(value)};
          found.dispatchEvent(new Event("change"));
        }})()"""
    )


def _number(text: str) -> float:
    return float(text.split()[0])


def test_a_page_of_sixty_links_is_small_and_fast(page: Page, tmp_path: Path) -> None:
    folder = comparison_folder(tmp_path, (60,), DEFAULT_POLICIES)
    main(["report", str(folder)])
    size = (folder / "report.html").stat().st_size
    seconds = page.open(folder / "report.html")
    policies = len(DEFAULT_POLICIES)
    print(f"60 links, {policies} policies: {size / 1e3:.0f} kB, ready after {seconds:.2f} s")
    assert size <= MAX_BYTES
    assert seconds <= LOAD_SECONDS
    assert page.evaluate("document.querySelectorAll('#map [data-link]').length") == 60
    assert page.evaluate("document.querySelectorAll('#bars [data-bar]').length") == 60
    assert page.errors() == []


def test_hovering_a_link_shows_its_numbers(page: Page, tmp_path: Path) -> None:
    folder = comparison_folder(tmp_path, (60, 8))
    main(["report", str(folder)])
    page.open(folder / "report.html")
    report = collect(folder)
    for index, link, policy in ((0, 17, "metagnn"), (0, 42, "itlinq"), (1, 5, "metagnn")):
        _choose(page, "which", str(index))
        _choose(page, "policy", policy)
        page.mouse("mouseMoved", 2, 2)
        assert _tip(page) == {}
        page.mouse("mouseMoved", *_middle(page, f"#map [data-link='{link}'] path"))
        shown, stored = _tip(page), report.networks[index].policies[policy]
        assert shown["title"].startswith(f"Link {link} ")
        assert stored.power_w is not None
        for key, value in (("power", 1e3 * stored.power_w[link]), ("rate", stored.rate[link])):
            assert _number(shown[key]) == pytest.approx(value, rel=5e-4), key
        assert "mW" in shown["power"]
        assert "bit/s/Hz" in shown["rate"]
        if policy == "itlinq":
            assert (shown["slack"], shown["multiplier"]) == ("–", "–")
        else:
            assert stored.slack is not None
            assert stored.multiplier is not None
            assert _number(shown["slack"]) == pytest.approx(stored.slack[link], rel=5e-4)
            assert _number(shown["multiplier"]) == pytest.approx(stored.multiplier[link], rel=5e-4)
        assert _number(shown["gain"]) == -80.0
        assert _number(shown["length"]) == pytest.approx(1700**0.5, rel=5e-4)


@pytest.mark.parametrize("words", [(), ("--refine",)])
def test_the_page_of_an_adaptation_shows_its_links(
    page: Page, tmp_path: Path, words: tuple[str, ...]
) -> None:
    gain = 1e-11 * np.random.default_rng(0).exponential(size=(12, 3, 3))
    gain[:, range(3), range(3)] *= 1e3
    np.savez(tmp_path / "gain.npz", gain=gain)
    path, out = str(tmp_path / "gain.npz"), tmp_path / "out"
    main(["adapt", path, "--test", path, "--steps", "2", "--out", str(out), "--json", *words])
    main(["report", str(out)])
    page.open(out / "report.html")
    label = STYLES["metagnn_refined" if words else "metagnn"].label
    assert page.evaluate("document.querySelector('#table tbody td').innerText") == label
    assert page.evaluate("document.querySelectorAll('#map [data-link]').length") == 3
    assert page.evaluate("document.querySelectorAll('#convergence svg path').length") > 0
    stored = json.loads((out / "report.json").read_text())
    power_w = np.load(out / "power.npz")["power_w"].mean(0)
    x, y = _middle(page, "#map [data-link='1'] path")
    page.mouse("mouseMoved", x, y)
    shown = _tip(page)
    assert shown["title"] == f"Link 1 · {label}"
    assert _number(shown["power"]) == pytest.approx(1e3 * power_w[1], rel=1e-3)
    for key in ("rate", "slack", "multiplier"):
        assert _number(shown[key]) == pytest.approx(stored[key][1], rel=5e-4, abs=1e-9), key
    assert page.errors() == []


def _dashes(name: str) -> list[float]:
    """Dashes of a policy as matplotlib draws them, in widths of the line."""
    dashes = styles([name])[name].dashes
    if not isinstance(dashes, str):
        return list(dashes[1])
    names = {"--": "dashed", "-.": "dashdot", ":": "dotted"}
    return list(rcParamsDefault[f"lines.{names[dashes]}_pattern"]) if dashes in names else []


def _looks(page: Page, selector: str) -> dict[str, Any]:
    """Colour and dashes of the first path in an element, and colour and shape of its mark."""
    line, dash, width, fill, shape = page.evaluate(
        f"""(() => {{
          const found = document.querySelector({json.dumps(selector)});
          const line = getComputedStyle(found.querySelector("path"));
          const mark = found.querySelector("path[transform]");
          return [line.stroke, line.strokeDasharray, line.strokeWidth,
            getComputedStyle(mark).fill, mark.getAttribute("d")];
        }})()"""
    )
    lengths = [] if dash == "none" else [float(each.rstrip("px")) for each in dash.split(", ")]
    return {
        "line": _hex(line),
        "dashes": [round(length / float(width.rstrip("px")), 2) for length in lengths],
        "fill": _hex(fill),
        "shape": shape,
    }


def _hex(colour: str) -> str:
    return to_hex([int(part) / 255 for part in re.findall(r"\d+", colour)])


def test_policies_look_as_in_all_figures(page: Page, tmp_path: Path) -> None:
    names = tuple(STYLES)
    assert set(DEFAULT_POLICIES) <= set(names)
    folder = comparison_folder(tmp_path, (4,), names)
    gap = {"network": 0, "num_links": 4, "primal": 2.0, "best_known": 2.1, "dual": 2.5}
    rows = [gap | {"bound": "exact", "values": {"random": 2.1, "metagnn": 2.2}}]
    write_json(folder / "gap.json", {"policy": "metagnn_refined", "networks": rows})
    main(["report", str(folder)])
    page.open(folder / "report.html")
    places = {name: f"#policies > span:nth-child({k})" for k, name in enumerate(names, start=1)}
    legend = {name: _looks(page, place) for name, place in places.items()}
    for name, style in STYLES.items():
        look = legend[name]
        assert {look["line"], look["fill"]} == {style.colour.lower()}, name
        assert look["dashes"] == _dashes(name), name
    shapes = {name: look["shape"] for name, look in legend.items()}
    assert len(set(shapes.values())) == len(names)
    assert len({(look["line"], *look["dashes"]) for look in legend.values()}) == len(names)
    for name, look in legend.items():
        assert _looks(page, f"#distribution [data-policy={name}]") == look
        assert _looks(page, f"#trade [data-policy={name}]") == look | {"dashes": []}
        _choose(page, "policy", name)
        bar = page.evaluate("getComputedStyle(document.querySelector('[data-bar]')).fill")
        assert _hex(bar) == look["line"], name
    row = "#gaps [data-gap='0']"
    bar = page.evaluate(f'getComputedStyle(document.querySelector("{row} rect")).stroke')
    assert _hex(bar) == legend["metagnn_refined"]["line"]
    marks = page.evaluate(
        f'[...document.querySelectorAll("{row} path[transform]")].map((m) => '
        "[getComputedStyle(m).fill, m.getAttribute('d')])"
    )
    assert [(_hex(fill), shape) for fill, shape in marks] == [
        (legend[name]["fill"], shapes[name]) for name in ("random", "metagnn")
    ]


def test_other_policies_look_like_none_beside_them(page: Page, tmp_path: Path) -> None:
    names = ("metagnn", "itlinq", "mine", "theirs")
    folder = comparison_folder(tmp_path, (4,), names)
    main(["report", str(folder)])
    page.open(folder / "report.html")
    found = [_looks(page, f"#policies > span:nth-child({number})") for number in range(1, 5)]
    expected = styles(names).values()
    assert [look["line"] for look in found] == [style.colour.lower() for style in expected]
    assert len({look["shape"] for look in found}) == len(names)


def test_black_policies_are_seen_once_it_is_dark(page: Page, tmp_path: Path) -> None:
    folder = comparison_folder(tmp_path, (4,), ("random", "metagnn"))
    main(["report", str(folder)])
    page.open(folder / "report.html")
    assert _looks(page, "#policies > span")["fill"] == "#000000"
    page.evaluate(
        "void (window.redrawn = new Promise((done) => darkMode.addEventListener('change', done)))"
    )
    page.resize(1280, 900, dark=True)
    try:
        page.evaluate("window.redrawn.then(() => true)")
        for selector in ("#policies > span", "#trade [data-policy]"):
            assert _looks(page, selector)["fill"] == "#f2f2f2"
    finally:
        page.resize(1280, 900)


def test_bars_keys_and_clicks_show_links_too(page: Page, tmp_path: Path) -> None:
    folder = comparison_folder(tmp_path, (6,))
    main(["report", str(folder)])
    page.open(folder / "report.html")
    page.mouse("mouseMoved", *_middle(page, "#bars [data-bar='4']"))
    assert _tip(page)["title"].startswith("Link 4 ")
    place = _middle(page, "#map [data-link='2'] path")
    page.mouse("mouseMoved", *place)
    _click(page, *place)
    page.mouse("mouseMoved", 2, 2)
    assert _tip(page)["title"].startswith("Link 2 ")  # kept
    page.evaluate("document.getElementById('map').focus()")
    page.call("Input.dispatchKeyEvent", type="keyDown", key="ArrowRight")
    assert _tip(page)["title"].startswith("Link 3 ")
    page.call("Input.dispatchKeyEvent", type="keyDown", key="Escape")
    assert _tip(page) == {}


def test_the_map_zooms_and_moves(page: Page, tmp_path: Path) -> None:
    folder = comparison_folder(tmp_path, (6,))
    main(["report", str(folder)])
    page.open(folder / "report.html")
    before = page.evaluate("links.map((link) => link.x2 - link.x1)")
    page.evaluate("document.getElementById('closer').click()")
    after = page.evaluate("links.map((link) => link.x2 - link.x1)")
    assert [b / a for a, b in zip(before, after, strict=True)] == pytest.approx([1.6] * 6, rel=0.1)
    x, y = _middle(page, "#map svg")
    start = page.evaluate("links[0].x1")
    page.mouse("mousePressed", x, y, button="left", buttons=1, clickCount=1)
    for step in (10, 20, 30):
        page.mouse("mouseMoved", x + step, y, button="left", buttons=1)
    page.mouse("mouseReleased", x + 30, y, button="left", clickCount=1)
    assert page.evaluate("links[0].x1") == pytest.approx(start + 30, abs=0.5)


def test_every_axis_has_a_unit(page: Page, tmp_path: Path) -> None:
    folder = comparison_folder(tmp_path / "compared", (4,))
    gap = {"network": 0, "num_links": 4, "primal": 2.0, "best_known": 2.1, "dual": 2.5}
    gaps = {"policy": "metagnn", "networks": [gap | {"bound": "exact"}]}
    write_json(folder / "gap.json", gaps)
    for run in (folder, training_folder(tmp_path / "run")):
        main(["report", str(run)])
        page.open(run / "report.html")
        titles = page.evaluate(
            "[...document.querySelectorAll('svg')].filter((s) => s.querySelector('.axis'))"
            ".flatMap((s) => [...s.querySelectorAll('text.title')]).map((t) => t.textContent)"
        )
        without = [text for text in titles if text and "[" not in text]
        # A share has none.
        assert set(without) <= {"share of links at or below"}
        assert len(titles) >= 6
    assert page.evaluate("document.querySelectorAll('#convergence svg').length") == 3


def test_policies_stand_in_the_intervals(page: Page, tmp_path: Path) -> None:
    policies = ("metagnn", "wmmse", "itlinq")
    folder = comparison_folder(tmp_path, (4, 4), policies)
    values = {"metagnn": 2.0, "wmmse": 2.2, "itlinq": 0.5, "of others": 2.3}
    gap = {"num_links": 4, "primal": 2.0, "best_known": 2.2, "dual": 2.5, "bound": "exact"}
    spread = {"low": 1.75, "high": 2.875, "confidence": 0.95}
    more = {"values": values, "undecided": 0.0625, "distribution": spread}
    rows = [gap | {"network": 0, **more}, gap | {"network": 1}]
    write_json(folder / "gap.json", {"policy": "metagnn", "networks": rows})
    main(["report", str(folder)])
    page.open(folder / "report.html")
    named = page.evaluate("document.querySelector('#gaps .legend').innerText")
    assert named.split() == ["WMMSE"]
    mark = "#gaps [data-gap='0'] path[transform]"
    assert page.evaluate(f'document.querySelectorAll("{mark}").length') == 1
    none = "#gaps [data-gap='1'] path[transform]"
    assert page.evaluate(f'document.querySelectorAll("{none}").length') == 0
    x, y = _middle(page, "#gaps [data-gap='0'] rect")
    page.mouse("mouseMoved", x, y)
    said = {"itlinq": "0.5", "undecided": "0.063 bit", "distribution": "1.75 to 2.875 bit"}
    for key, text in said.items():
        row = page.evaluate(f"document.querySelector('#tip [data-key={key}]').innerText")
        assert row.startswith(text), key
    x, y = _middle(page, "#gaps [data-gap='1'] rect")
    page.mouse("mouseMoved", x, y)
    for key in ("undecided", "distribution"):
        assert page.evaluate(f"document.querySelector('#tip [data-key={key}]')") is None


def test_the_page_is_drawn_for_dark_and_narrow_windows(page: Page, tmp_path: Path) -> None:
    folder = comparison_folder(tmp_path, (60,))
    main(["report", str(folder)])
    page.open(folder / "report.html")
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.resize(390, 800, dark=True)
    try:
        page.open(folder / "report.html")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= 390
    finally:
        page.resize(1280, 900)


def test_names_are_inert(page: Page, tmp_path: Path) -> None:
    folder = comparison_folder(tmp_path, (3,), ("metagnn", EVIL.replace("\u2028", " ")))
    document = json.loads((folder / "comparison.json").read_text())
    (folder / "comparison.json").write_text(json.dumps({**document, "config": EVIL}))
    main(["report", str(folder)])
    page.open(folder / "report.html")
    assert page.evaluate("document.title") == "Comparison of power control"
    assert page.evaluate("document.querySelectorAll('script, img').length") == 2
    assert EVIL in page.evaluate(
        "[...document.querySelectorAll('#facts dd')].map(d => d.innerText)"
    )


def test_an_own_script_in_the_page_is_refused(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    text = render(Report("Title", []))
    path.write_text(text.replace("</footer>", "</footer><script>document.title='x'</script>"))
    page.open(path)
    assert page.evaluate("document.title") == "Title"
    assert any("Content Security Policy" in error for error in page.errors())
    page.events.clear()


def test_nothing_in_the_page_ends_its_script_or_loads(tmp_path: Path) -> None:
    text = render(Report(EVIL, [("name", EVIL)], config=EVIL))
    assert text.count("<script") == text.count("</script>") == 2
    assert "<img" not in text
    assert f"<title>{html.escape(EVIL)}</title>" in text
    assert not re.search(r"https?:|//cdn|@import|url\((?!#)|<link|\bsrc\s*=\s*[\"']", text)
    assert "default-src 'none'" in text


def test_json_in_a_script_survives() -> None:
    value = {"name": EVIL, "number": 0.1, "nothing": None}
    text = script_json(value)
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == value
    with pytest.raises(ValueError, match="not JSON compliant"):
        script_json(float("nan"))


def test_the_page_replaces_an_older_one_or_leaves_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = comparison_folder(tmp_path / "run")
    out = tmp_path / "page.html"
    main(["report", str(folder), "--out", str(out)])
    assert f"Page: {out}" in capsys.readouterr().out
    whole = out.read_bytes()
    (folder / "networks.json").write_text("{")
    with pytest.raises(SystemExit):
        main(["report", str(folder), "--out", str(out)])
    assert out.read_bytes() == whole
    with pytest.raises(SystemExit):
        main(["report", str(comparison_folder(folder)), "--out", str(tmp_path / "no" / "p.html")])
    assert "`--out` must lie in a folder that exists" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html", "run"]
