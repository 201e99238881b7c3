"""A real headless Chromium that may talk to nobody: any request that is not a file fails the test."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from seqdis.bench.site.publish import publish

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND",
]
CANDIDATES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def load(name: str) -> ModuleType:
    """A helper beside this file: test folders are no packages."""
    spec = importlib.util.spec_from_file_location(f"seqdis_test_{name}", Path(__file__).parent / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def specimens() -> ModuleType:
    return load("specimens")


@pytest.fixture(scope="session")
def chromium() -> Iterator[object]:
    """The browser: $SEQDIS_CHROMIUM, or the one on the path. playwright only drives it; it brings none of its own."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install .[test])")
    path = os.environ.get("SEQDIS_CHROMIUM") or next(filter(None, map(shutil.which, CANDIDATES)), None)
    if path is None:
        pytest.skip("Chromium is not installed (apt install chromium), nor named by SEQDIS_CHROMIUM")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, specimens: ModuleType) -> Path:
    """A site of made-up cells on two sources, with clips, a failed cell and one whose data may not be shown."""
    runs = tmp_path_factory.mktemp("site") / "runs"
    specimens.store(runs, seeds=3)
    specimens.store(runs, seeds=3, source="real", preset="paper", clips=False)
    build = specimens.records()
    build.store_record(
        runs,
        build.make_record(
            "cdsvae",
            "sprites",
            7,
            changes={"status": "failed", "error": {"reason": "loss is not finite at step 12"}, "metrics": {}},
        ),
    )
    out = runs.parent / "out"
    publish([runs], out)
    return out


class Watched:
    """A page whose console, errors and requests are kept."""

    def __init__(self, page: object) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.outside: list[str] = []
        page.on(
            "console", lambda message: message.type in ("error", "warning") and self.complaints.append(message.text)
        )
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on(
            "request", lambda request: request.url.startswith(("file:", "data:")) or self.outside.append(request.url)
        )
        page.on("requestfailed", lambda request: self.complaints.append(f"{request.url} failed"))

    def open(self, path: Path) -> object:
        self.page.goto(path.as_uri())
        return self.page


@pytest.fixture
def open_page(chromium: object, request: pytest.FixtureRequest) -> Iterator[object]:
    """Opens a file in a fresh context; at the end of the test nothing may have been complained about or fetched."""
    watched: list[Watched] = []
    contexts = []

    def opener(path: Path, **options: object) -> object:
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        context.set_default_timeout(15_000)
        contexts.append(context)
        watched.append(Watched(context.new_page()))
        return watched[-1].open(path)

    yield opener
    found = [(each.complaints, each.outside) for each in watched]
    for context in contexts:
        context.close()
    assert found == [([], [])] * len(found)
