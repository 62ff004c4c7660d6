"""report.py: one page that fetches nothing, shows what files say as text, and sorts by what they say."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from support.result_examples import content_of, record_of
from support.running import fails

import report
from formats.results import SCHEMA
from helper.errors import UserError

ROOT = Path(__file__).parents[2]
EVIL = '"><script>alert(1)<!--&$x$'


def write_run(folder: Path, *, log: bool = False, **changes) -> Path:
    results = content_of() | {"trained_branches": [0, 1], "single_branch": {"branch": 1, "CA": 89.0, "AdvA": 45.25}}
    results["accuracy"] |= {"AdvA": {"0": 1.5, "1": 45.25}, "NPA": {"0": 63.5, "1": 63.25}}
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps(results | changes))
    if log:
        (folder / "log.jsonl").write_text(json.dumps(record_of(1)) + '\n{"epoch": 2, "lo')
    return folder


def build(out: Path, *runs: Path, title: str = "Runs") -> str:
    report.main(report.parse_args([*map(str, runs), "--out", str(out), "--title", title]))
    return out.read_text()


class Page(HTMLParser):
    """Tables as rows of (tag, attributes, text), scripts, and ids."""

    def __init__(self, text: str):
        super().__init__()
        self.tables, self.ids, self.scripts, self.text, self.cell = [], [], 0, "", None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.scripts += tag == "script"
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("th", "td"):
            self.cell = [tag, attributes, ""]
            self.tables[-1][-1].append(self.cell)

    def handle_endtag(self, tag):
        if tag in ("th", "td"):
            self.cell = None

    def handle_data(self, data):
        self.text += data
        if self.cell:
            self.cell[2] += data


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> list[Path]:
    root = tmp_path_factory.mktemp("runs")
    made = {"origin": "generated", "folder": None, "seed": 0, "frost": "procedural"}
    few = {"images": 50, "CA": {"0": 70.0}, "AdvA": {}}
    return [
        write_run(root / "a/same", log=True, corrupted_images=made),
        write_run(root / "b/same", accuracy=few, attack=None, oracle={"CA": 70.0}, single_branch={"branch": 0}),
        write_run(root / EVIL.replace("/", ""), dataset="cifar10", warnings=[f"flattering {EVIL}"], model=EVIL),
    ]


@pytest.fixture(scope="module")
def text(folders: list[Path], tmp_path_factory) -> str:
    return build(tmp_path_factory.mktemp("page") / "report.html", *folders, title=f"Title {EVIL}")


def test_the_overview_says_what_the_files_say(text: str):
    groups, head, *rows = Page(text).tables[0]
    titles = [cell[2] for cell in head]
    assert [cell[2] for cell in groups] == [*("", "With an oracle, %", "Best single branch, %", "ReLUs kept", "")]
    assert titles == [
        *("Run", "ReLUs", "CA", "AdvA", "NPA", "branch", "CA", "AdvA", "NPA"),
        *("%", "Images", "Model", "Data set"),
    ]
    first = [cell[2] for cell in rows[0]]
    assert first[1:] == [
        *("180", "90 ±6", "45 ±10", "64 ±9", "1", "89 ±6", "45 ±10", "63 ±9"),
        *("60.0", "100", "resnet8", "digits"),
    ]


def test_cells_sort_by_the_number_itself_and_missing_ones_say_so(text: str):
    _, head, *rows = Page(text).tables[0]
    assert all(attributes["aria-sort"] == "none" for _, attributes, _ in head)
    keys = [cell[1]["data-value"] for cell in rows[0]]
    assert keys[1:4] == ["180", "90.0", "45.25"]
    attacked, npa = rows[1][3:5]
    assert [attacked[1]["data-value"], attacked[2], npa[1]["data-value"], npa[2]] == ["", "–", "", "–"]
    assert text.count('<button type="button">') == sum(len(table[-1]) for table in Page(text).tables)


def test_the_corruption_table_has_its_mean_below(text: str):
    table = next(table for table in Page(text).tables if table[1][0][2] == "Corruption")
    assert [cell[2] for cell in table[2]] == ["Gaussian noise", "80", "80", "78", "78", "76", "78"]
    assert [row[0][2] for row in table[4:]] == ["frost (procedural)", "JPEG compression", "mean"]
    assert table[-1][-1][1]["data-value"] == "63.5"
    assert table[2][1][1]["style"] == "--warmth: 80%"


def test_what_cannot_be_compared_is_said(text: str):
    for sentence in (
        "Measured on different data sets: digits in runs 1 and 2; cifar10 in run 3.",
        "Measured on different numbers of images: 100 in runs 1 and 3; 50 in run 2.",
        "NPA and mCE are of images generated here, not of the published ones, in run 1.",
        "Frost is procedural in run 1",
        f"Run 3: flattering {EVIL}",
    ):
        assert sentence in Page(text).text


def test_text_from_files_stays_text(text: str):
    page = Page(text)
    assert page.scripts == 1
    assert "<script>alert" not in text
    assert "<!--" not in text.removeprefix("<!DOCTYPE html>")
    assert text.count("&lt;script&gt;alert(1)") >= 4


def test_the_page_is_self_contained(text: str):
    assert not re.search(r"https?:|//\w|@import|<link(?! rel=\"icon\" href=\"data:,\")", re.sub(r"\s//.*", "", text))
    assert all(target.startswith(("#", "data:")) for target in re.findall(r'(?:src|href)="([^"]*)"', text))
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text))


def test_ids_are_unique_and_references_arrive(text: str):
    ids = Page(text).ids
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]*)"|url\(#([^)]*)\)', text)) <= {(i, "") for i in ids} | {("", i) for i in ids}


def test_runs_of_the_same_name_are_told_apart(text: str):
    assert "a/<wbr>same" in text
    assert "b/<wbr>same" in text


@pytest.mark.slow
def test_same_input_same_bytes(folders: list[Path], text: str, tmp_path: Path):
    # The same run twice, as its folder and as its file, is one run.
    again = build(tmp_path / "other.html", *folders, folders[0] / "results.json", title=f"Title {EVIL}")
    assert again == text


@pytest.mark.slow
def test_pictures_of_the_run_are_part_of_the_page(tmp_path: Path):
    run = write_run(tmp_path / "run")
    (run / "figures").mkdir()
    for name in ("examples", "severity"):
        (run / f"figures/{name}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(30))
    text = build(tmp_path / "report.html", run)
    assert text.count("data:image/png;base64,") == 1
    stack, _, below = text.partition('<div class="stack">')[2].partition('<div class="figures">')
    assert ["Mean accuracy by severity" in part for part in (stack, below)] == [True, False]
    assert ["base64" in part for part in (stack, below)] == [False, True]
    (run / "figures/mask_maps.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"mask_maps\.png: not a PNG"):
        build(tmp_path / "other.html", run)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "holds no results.json, which a run writes when it is done"),
        ("{", "results.json"),
        ('{"schema": "another"}', "results.json"),
        (json.dumps({"schema": SCHEMA}), "it lacks script"),
    ],
)
def test_bad_input_is_one_line_and_nothing_written(content: str | None, message: str, tmp_path: Path):
    run = tmp_path / "run"
    run.mkdir()
    if content is not None:
        (run / "results.json").write_text(content)
    with pytest.raises(UserError, match=message):
        build(tmp_path / "report.html", run)
    assert not (tmp_path / "report.html").exists()


def test_titles_of_attacks_come_from_the_files_the_weakest_first(tmp_path: Path):
    """An earlier file holds names alone; the order of columns agrees with that of every run."""
    l2 = {"name": "pgd_l2", "title": "PGD (L2)", "norm": "L2", "eps": 0.5, "step_size": 0.1, "steps": 20, "restarts": 2}
    found = {
        "images": 100,
        "CA": {"0": 90.0},
        "AdvA": {"0": 20.0},
        "attacks": {"new": {"0": 30.0}, "pgd_l2": {"0": 20.0}},
    }
    titles = {"new": "New", "pgd_l2": "PGD (L2)"}
    branch = {"oracle": {"CA": 90.0}, "single_branch": {"branch": 0}}
    earlier = {
        "images": 100,
        "CA": {"0": 90.0},
        "AdvA": {"0": 20.0},
        "attacks": {"pgd": {"0": 20.0}, "fgsm": {"0": 30.0}},
    }
    runs = [
        write_run(tmp_path / "earlier", accuracy=earlier, **branch),
        write_run(tmp_path / "l2", accuracy=found, attack=l2, attack_titles=titles, **branch),
    ]
    text = build(tmp_path / "report.html", *runs)
    titles = [cell[2] for cell in Page(text).tables[0][1]]
    assert titles[titles.index("FGSM") :][:4] == ["FGSM", "PGD", "New", "PGD (L2)"]
    for words in ("PGD-20 at 8/255 in run 1", "PGD-20 (L2) at 0.5, 2 restarts in run 2", "FGSM, PGD, New, PGD (L2)"):
        assert words in Page(text).text


@pytest.mark.slow
def test_a_page_is_made_without_torch(folders: list[Path], tmp_path: Path):
    words = (
        "import sys, report, reporting.zoo_page; report.main(report.parse_args(sys.argv[1:])); "
        "reporting.zoo_page.zoo_page([]); print({'torch', 'torchvision'} & sys.modules.keys())"
    )
    command = [sys.executable, "-c", words, *map(str, folders), "--out", str(tmp_path / "report.html")]
    said = subprocess.check_output(command, cwd=ROOT, text=True)
    assert said.splitlines()[-1] == "set()"


def test_the_script_ends_with_status_2(tmp_path: Path):
    fails(f"report.py {tmp_path} --out {tmp_path / 'report.html'}")
    assert not (tmp_path / "report.html").exists()
