"""`view`: a careful local server; and pages that may run their own scripts and nothing else."""

import json
import os
import socket
import threading
from http.client import HTTPConnection

import pytest

from fourfold.errors import FourfoldError
from fourfold.pages import as_json, script_hashes, with_policy
from fourfold.viewer.server import listening


@pytest.fixture
def server(tmp_path, capfd):
    (tmp_path / "player.html").write_text("<!doctype html>the player")
    (tmp_path / "report.json").write_text("{}")
    (tmp_path / "scene.safetensors").write_bytes(b"scene")
    (tmp_path / "x.json").mkdir()
    (tmp_path / "inside.html").symlink_to(tmp_path / "player.html")
    (tmp_path / "outside.html").symlink_to("/etc/hostname")
    os.mkfifo(tmp_path / "pipe.json")
    with listening(tmp_path, port=0) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()
    assert "Traceback" not in capfd.readouterr().err


def _get(server, path: str, **headers: str) -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    connection.putrequest("GET", path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    return answer.status, answer.read()


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 200),
        ("/?time=0.5&yaw=90", 200),
        ("/player.html", 200),
        ("/inside.html", 200),
        ("/report.json?x=%00", 200),
        ("/outside.html", 404),
        ("/scene.safetensors", 404),
        ("/x.json", 404),
        ("/x.json/", 404),
        ("/pipe.json", 404),
        ("/player.html%00.png", 404),
        ("/%00", 404),
        ("/../../etc/passwd", 404),
        ("/%2e%2e/%2e%2e/etc/hosts.json", 404),
        ("/nothing.html", 404),
    ],
)
def test_what_is_served(server, path, status):
    assert _get(server, path)[0] == status


@pytest.mark.parametrize("host", ["localhost:7007", "127.0.0.1", "[::1]:7007", "192.168.0.7:7007"])
def test_its_own_address_is_answered(server, host):
    assert _get(server, "/report.json", Host=host)[0] == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "", "127.0.0.1.evil.example:7007"])
def test_another_name_is_not_answered(server, host):
    assert _get(server, "/report.json", Host=host)[0] == 403


def test_a_browser_that_goes_away_is_no_news(server, tmp_path):
    (tmp_path / "big.png").write_bytes(b"\0" * (32 << 20))
    with socket.create_connection(("127.0.0.1", server.server_port)) as connection:
        connection.sendall(b"GET /big.png HTTP/1.1\r\nHost: localhost\r\n\r\n")
        connection.recv(100)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # goes away with a reset
    assert _get(server, "/report.json") == (200, b"{}")


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_that_cannot_be(port, tmp_path):
    with pytest.raises(FourfoldError, match="there is no port"):
        listening(tmp_path, port=port)


@pytest.mark.parametrize("text", ["</script><script>alert(1)</script>", "<!--<script>", "]]>", "plain"])
def test_no_text_ends_a_script_element(text):
    written = as_json({"name": text})
    assert "<" not in written and json.loads(written) == {"name": text}


def test_a_policy_allows_the_scripts_of_a_page_alone():
    page = '<!doctype html><meta charset="utf-8"><script type="application/json">{"a": 1}</script><script>\nrun();\n</script>'
    # printf '\nrun();\n' | openssl dgst -sha256 -binary | base64
    expected = "'sha256-8Nic6TNoKbU2fN/Yduzc28MgjFgcikm6fSU0x0dR3EU='"
    assert script_hashes(page) == [expected]
    guarded = with_policy(page)
    assert guarded.count("Content-Security-Policy") == 1 and guarded.index("Content-Security-Policy") < guarded.index("<script")
    assert f"script-src {expected.replace(chr(39), '&#x27;')};" in guarded
    assert "script-src &#x27;none&#x27;" in with_policy('<meta charset="utf-8">no scripts')
