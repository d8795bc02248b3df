"""The explorer answers this machine and the holder of its token alone, and loads nothing from elsewhere."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

import pytest
from explorers import asked


def refused(address: str, path: str, message: dict) -> str:
    """Return the sentence of a refusal."""
    status, _, body = asked(address, urlsplit(address).path + path, json.dumps(message).encode())
    assert status == 400
    return json.loads(body)["error"]


def test_a_page_forbids_everything_from_elsewhere(address):
    status, headers, body = asked(address, urlsplit(address).path + "face.html")
    assert status == 200
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["referrer-policy"] == "no-referrer"
    assert b"://" not in body


@pytest.mark.parametrize("path", ["/", "/wrong/face.html", "//face.html", "/wrong/face/edit"])
def test_without_the_token_there_is_no_answer(address, path):
    assert asked(address, path)[0] == 403


def test_another_host_gets_no_answer(address):
    path = urlsplit(address).path
    assert asked(address, path, host="example.org")[0] == 421
    assert asked(address, path, host=f"example.org:{urlsplit(address).port}")[0] == 421
    assert asked(address, path, host=f"localhost:{urlsplit(address).port}")[0] == 307


@pytest.mark.parametrize("path", ["static/..%2Fapp.py", "static/app.py", "output.html", "no.html"])
def test_only_what_is_meant_is_served(address, path):
    assert asked(address, urlsplit(address).path + path)[0] == 404


def test_what_does_not_fit_is_refused_in_a_sentence(address):
    assert "yaw" in refused(address, "face/edit", {"seed": 0, "values": {"yaww": 1}})
    assert "seed" in refused(address, "face/edit", {"seed": -1})
    assert "extra" in refused(address, "face/edit", {"seed": 0, "surprise": 1}).lower()
    assert "memory" in refused(address, "photograph/edit", {"photograph": 99})
    assert "none of" in refused(address, "dataset/plan", {"by": "yaw:3", "strategy": "match:/etc/passwd"})
    assert "finite" in refused(address, "face/edit", {"seed": 0, "values": {"yaw": float("inf")}})


@pytest.mark.parametrize("data", [b"", b"<svg onload=alert(1)>", b"\xff\xd8\xff" + bytes(100)])
def test_an_upload_that_is_no_photograph_is_refused(address, data):
    status, _, body = asked(address, urlsplit(address).path + "photograph/load?name=%3Cb%3E.jpg", data)
    assert status == 400
    assert "<b>.jpg" in json.loads(body)["error"]


def test_an_upload_is_bounded(address):
    status, _, body = asked(address, urlsplit(address).path + "photograph/load", bytes(25 << 20))
    assert status == 400
    assert "24 MiB" in json.loads(body)["error"]
