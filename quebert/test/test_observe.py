"""
The files in C{examples/observe}: alert rules and a dashboard, checked by Prometheus's
own tool; each metric that they or the documentation name is one that there is.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import quebert
from quebert.metrics import FAMILIES
from quebert.metrics._totals import OTHERS, STATUSES

ROOT = Path(quebert.__file__).parents[1]
OBSERVE = ROOT / "examples" / "observe"
DOCUMENT = ROOT / "docs" / "metrics.rst"
pytestmark = pytest.mark.skipif(not OBSERVE.exists(), reason="not in a checkout")
#: What one metric is called by, in expressions.
SUFFIXES = {
    "counter": ("",),
    "gauge": ("",),
    "histogram": ("_bucket", "_count", "_sum"),
}
#: Each name in an expression, with its labels.
NAMES = {
    family.full_name + suffix: {*family.labels, "le"}
    for family in FAMILIES
    for suffix in SUFFIXES[family.kind]
}
#: Labels that Prometheus adds.
ADDED = {"job", "instance"}
ROW = re.compile(r"``(quebert_\w+)``  +(\w+)  +([\w, -]+?)  +(\S.*)")


def expressions() -> Iterator[tuple[str, str]]:
    """
    Where each expression of the dashboard stands, and the expression.
    """
    dashboard: Any = json.loads((OBSERVE / "grafana.json").read_text("utf-8"))
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


def promtool(*arguments: str, cwd: Path = OBSERVE) -> None:
    """
    Have Prometheus's tool check something.
    """
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("there is no promtool (Debian's prometheus)")
    found = subprocess.run(
        [program, *arguments], capture_output=True, text=True, check=False, cwd=cwd
    )
    assert found.returncode == 0, found.stdout + found.stderr


def test_names() -> None:
    """
    Rules, their tests and the dashboard name metrics that there are, with their labels.
    """
    for path in sorted(OBSERVE.iterdir()):
        text = path.read_text("utf-8").replace('\\"', '"')
        for name, labels in re.findall(
            r"(?<!:)\b(quebert_\w+)\b(?:\{([^}]*)\})?", text
        ):
            if name == "quebert_tasks_failed":  # a rule records it
                continue
            assert name in NAMES, (path.name, name)
            used = set(re.findall(r"(\w+) ?(?:=~|!=|!~|=)", labels))
            assert used <= NAMES[name] | ADDED, (path.name, name)


def test_grouped() -> None:
    """
    The labels by which expressions sum are those of the metric.
    """
    text = (OBSERVE / "rules.yml").read_text("utf-8")
    found = [*expressions(), *(("rules", each) for each in text.splitlines())]
    for place, expression in found:
        for labels, name in re.findall(
            r"by \(([\w, ]+)\) \((?:rate\(|increase\()?(quebert_\w+)", expression
        ):
            assert set(labels.split(", ")) <= NAMES[name] | ADDED, (place, name)


def test_every_metric() -> None:
    """
    The dashboard shows each metric.
    """
    shown = set(re.findall(r"quebert_\w+", " ".join(each for _, each in expressions())))
    for family in FAMILIES:
        names = {family.full_name + each for each in SUFFIXES[family.kind]}
        assert names & shown, family.name


def test_dashboard() -> None:
    """
    Panels have names of their own, and do not lie upon each other.
    """
    dashboard: Any = json.loads((OBSERVE / "grafana.json").read_text("utf-8"))
    panels = dashboard["panels"]
    assert len({each["id"] for each in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_expressions(tmp_path: Path) -> None:
    """
    The expressions of the dashboard can be read by Prometheus.
    """
    rules = []
    for number, (_, expression) in enumerate(expressions()):
        expression = expression.replace("$__rate_interval", "5m")
        expression = re.sub(r"\$\w+", ".*", expression)
        rules.append({"record": f"quebert:panel:{number}", "expr": expression})
    text = json.dumps({"groups": [{"name": "dashboard", "rules": rules}]})
    (tmp_path / "rules.yml").write_text(text)
    promtool("check", "rules", "rules.yml", cwd=tmp_path)


def test_rules() -> None:
    """
    The rules and the configuration are right.
    """
    promtool("check", "config", "prometheus.yml")


def test_alerts() -> None:
    """
    Each alert fires when it should, and not when it should not.
    """
    promtool("test", "rules", "rules_test.yml")
    rules = (OBSERVE / "rules.yml").read_text("utf-8")
    tests = (OBSERVE / "rules_test.yml").read_text("utf-8")
    alerts = set(re.findall(r"alert: (\w+)", rules))
    assert alerts == set(re.findall(r"alertname: (\w+)", tests))


def test_documented() -> None:
    """
    The table of the documentation has each metric, with its kind, labels and meaning.
    """
    document = DOCUMENT.read_text("utf-8")
    found = {row[0]: row for row in ROW.findall(document)}
    expected = {
        each.full_name: (
            each.full_name,
            each.kind,
            ", ".join(each.labels) or "-",
            each.text.removesuffix("."),
        )
        for each in FAMILIES
    }
    assert found == expected
    for each in (OTHERS, *STATUSES):
        assert f"``{each}``" in document
    for name in re.findall(r"quebert_\w+[a-z]\b", document):
        assert name in {*expected, *NAMES}
