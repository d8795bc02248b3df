"""`faceaug explore`: what it refuses before it serves anything, and that it serves and ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import urllib.request

import pytest
from command_line import IN_PROCESS

import faceaug


def test_without_the_extra_it_says_how_to_install_it(faceaug_cli, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    refused = faceaug_cli("explore")
    assert refused.status == 1
    assert refused.err.count("\n") == 1
    assert "pip install 'faceaug[explore]'" in refused.err


def test_real_faces_are_those_of_an_output_folder(faceaug_cli):
    pytest.importorskip("starlette", reason="the extra explore is not installed")
    refused = faceaug_cli("explore", faceaug.demo.path(), "--dataset", faceaug.demo.path())
    assert refused.status == 2
    assert "output folder" in refused.err


@pytest.mark.slow
def test_it_serves_a_page_until_ctrl_c():
    pytest.importorskip("uvicorn", reason="the extra explore is not installed")
    code = f"{IN_PROCESS}\nmain()"
    command = [sys.executable, "-c", code, "explore", "--quiet"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(address, timeout=60) as page:
            assert b"faceaug explore" in page.read()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in errors
