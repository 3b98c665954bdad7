"""
The modules of the page: their own tests under Node, their types, and their rules.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import quebert
from quebert.web._assets import PAGE_HEADERS

ASSETS = Path(quebert.__file__).parent / "web" / "assets"
TESTS = Path(__file__).parent / "page_modules"
MODULES = sorted(ASSETS.glob("*.js"))
COMPILER = Path(sys.prefix, "node_modules", "typescript", "bin", "tsc")
#: What takes a text for markup or a script, or leaves the page.
FORBIDDEN = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|createContextualFragment|DOMParser"
    r"|document\.write|\beval\b|new Function|\.cssText|srcdoc\s*=|https?://(?!www\.w3)"
    r"|window\.open|import\((?!\")"
)


def node() -> str:
    """
    Node, if it is one that knows modules by their text; else the test is skipped.
    """
    found = shutil.which("node")
    if found is None:
        pytest.skip("Node is not installed")
    said = subprocess.run([found, "--version"], capture_output=True, check=True)
    version = tuple(map(int, re.findall(rb"\d+", said.stdout)[:2]))
    if version < (20, 19):
        pytest.skip("Node is older than 20.19")
    return found


def test_modules() -> None:
    """
    The modules pass their own tests.
    """
    files = map(str, sorted(TESTS.glob("*.test.mjs")))
    ran = subprocess.run([node(), "--test", *files], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert re.search(r"# pass [1-9]", ran.stdout), ran.stdout


def test_types(tmp_path: Path) -> None:
    """
    Types are as the comments say, by the compiler of TypeScript.
    """
    if not COMPILER.exists():
        pytest.skip("TypeScript is not installed")
    settings = {
        "allowJs": True,
        "checkJs": True,
        "lib": ["es2023", "dom", "dom.iterable"],
        "module": "es2022",
        "moduleResolution": "bundler",
        "noEmit": True,
        "noUncheckedIndexedAccess": True,
        "noUnusedLocals": True,
        "noUnusedParameters": True,
        "strict": True,
        "target": "es2023",
        "types": [],
    }
    project = tmp_path / "tsconfig.json"
    files = [str(each) for each in MODULES]
    project.write_text(json.dumps({"compilerOptions": settings, "files": files}))
    command = [node(), str(COMPILER), "--project", str(project)]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout


def test_rules() -> None:
    """
    A module is small, says first what it is for, and takes no text for markup.
    """
    assert len(MODULES) > 20
    for module in MODULES:
        text = module.read_text(encoding="utf-8")
        assert text.startswith("/**\n * "), module.name
        assert FORBIDDEN.findall(text) == [], module.name
        assert text.count("\n") <= 350, module.name


@pytest.mark.parametrize("name", ["index.html", "openapi.html"])
def test_document(name: str) -> None:
    """
    A document has no script, style or file that the policy would not let in, and all
    that it names is there.
    """
    text = (ASSETS / name).read_text(encoding="utf-8")
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|https?://", text)
    assert all("src=" in each for each in re.findall(r"<script[^>]*>", text))
    for each in re.findall(r'"/assets/([^"]+)"', text):
        assert (ASSETS / each).is_file(), each
    for module in MODULES:
        for each in re.findall(
            r'from "\./([^"]+)"', module.read_text(encoding="utf-8")
        ):
            assert (ASSETS / each).is_file(), f"{module.name}: {each}"
    policy = dict(PAGE_HEADERS)["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
