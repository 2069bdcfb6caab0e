"""Each fault of a server: no wrong file is accepted, nothing is left behind, the message helps."""

from __future__ import annotations

import errno
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from metaccord.data import Connection, RemoteFile, download, fetch_file
from metaccord.errors import DataError, ResourceError
from tests.data.conftest import remote, tree
from tests.data.server import Server, cut, in_turn, moved, silent, status, trickle, whole

CONTENT = bytes(range(256)) * 400
FILE = remote("some.zip", CONTENT)
HTML = b"<!doctype html><title>Sign in</title>"


def refused(server: Server, folder: Path, file: RemoteFile = FILE, **options: object) -> str:
    """Fetch, and return the message after checking that nothing was kept."""
    with pytest.raises(DataError) as caught:
        fetch_file(file, folder, server.connection(**options))
    assert not {name for name, content in tree(folder).items() if content}
    assert not list(folder.rglob("*.part"))
    message = str(caught.value)
    assert "\n" not in message
    for part in (f"{server.url}/some.zip", file.md5, str(folder / "some.zip"), "by other means"):
        assert part in message
    return message


def test_a_good_file_is_kept_and_not_asked_for_again(server: Server, tmp_path: Path) -> None:
    server.answers["/some.zip"] = whole(CONTENT)
    path = fetch_file(FILE, tmp_path / "new" / "folder", server.connection())
    assert path.read_bytes() == CONTENT
    assert fetch_file(FILE, path.parent, server.connection()) == path
    assert server.asked == ["/some.zip"]
    assert sorted(tree(path.parent)) == [".some.zip.lock", "some.zip"]


def test_progress_is_told(server: Server, tmp_path: Path) -> None:
    server.answers["/some.zip"] = whole(CONTENT)
    told: list[tuple[RemoteFile, int]] = []
    connection = server.connection(progress=lambda file, done: told.append((file, done)))
    fetch_file(FILE, tmp_path, connection)
    assert told[-1] == (FILE, len(CONTENT))


@pytest.mark.parametrize("sent", [0, 1, 1000, len(CONTENT) - 1])
def test_cut_off_is_retried_and_then_told(server: Server, tmp_path: Path, sent: int) -> None:
    server.answers["/some.zip"] = cut(CONTENT, sent)
    assert "cut off" in refused(server, tmp_path)
    assert len(server.asked) == 3


@pytest.mark.parametrize("fault", [cut(CONTENT, 9), status(500), status(503), status(429)])
def test_a_transient_fault_is_overcome(server: Server, tmp_path: Path, fault: object) -> None:
    server.answers["/some.zip"] = in_turn(fault, fault, whole(CONTENT))
    assert fetch_file(FILE, tmp_path, server.connection()).read_bytes() == CONTENT


@pytest.mark.parametrize("size", [None, len(CONTENT)])
@pytest.mark.parametrize("at", [0, 5000, len(CONTENT) - 1])
def test_changed_bytes_are_refused(
    server: Server, tmp_path: Path, at: int, size: int | None
) -> None:
    changed = CONTENT[:at] + bytes([CONTENT[at] ^ 1]) + CONTENT[at + 1 :]
    server.answers["/some.zip"] = whole(changed)
    assert "another MD5" in refused(server, tmp_path, FILE._replace(size=size))
    assert len(server.asked) == 1


def test_another_length_is_refused_early(server: Server, tmp_path: Path) -> None:
    server.answers["/some.zip"] = whole(CONTENT + b"x" * 10_000_000)
    assert f"more than {len(CONTENT)} bytes" in refused(server, tmp_path)
    server.answers["/some.zip"] = whole(CONTENT[:-1])
    assert f"found {len(CONTENT) - 1} bytes" in refused(server, tmp_path)


@pytest.mark.parametrize(
    ("kind", "found"), [("text/html; charset=utf-8", "HTML page"), ("application/zip", "bytes")]
)
def test_a_page_instead_of_a_file(server: Server, tmp_path: Path, kind: str, found: str) -> None:
    server.answers["/some.zip"] = whole(HTML, kind)
    assert found in refused(server, tmp_path)


@pytest.mark.parametrize(("code", "asked"), [(401, 1), (403, 1), (404, 1), (429, 3), (500, 3)])
def test_a_refusal_is_named(server: Server, tmp_path: Path, code: int, asked: int) -> None:
    server.answers["/some.zip"] = status(code)
    assert f"HTTP status {code}" in refused(server, tmp_path)
    assert len(server.asked) == asked


def test_a_silent_server_is_left(server: Server, tmp_path: Path) -> None:
    server.answers["/some.zip"] = silent(CONTENT, 0.6)
    assert "silent" in refused(server, tmp_path, silence=0.2, retries=1)
    assert len(server.asked) == 2


def test_a_trickle_meets_the_deadline(server: Server, tmp_path: Path) -> None:
    server.answers["/some.zip"] = trickle(CONTENT[:100], 0.02)
    assert "after 0.3 seconds" in refused(server, tmp_path, deadline=0.3)


def test_a_redirection_within_https_is_followed(server: Server, tmp_path: Path) -> None:
    server.answers["/some.zip"] = moved("/elsewhere")
    server.answers["/elsewhere"] = whole(CONTENT)
    assert fetch_file(FILE, tmp_path, server.connection()).read_bytes() == CONTENT


def test_a_redirection_to_http_is_refused(server: Server, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as plain:
        plain.setblocking(False)
        server.answers["/some.zip"] = moved(f"http://127.0.0.1:{plain.getsockname()[1]}/some.zip")
        assert "not https" in refused(server, tmp_path)
        with pytest.raises(BlockingIOError):
            plain.accept()  # nobody called


def test_a_redirection_loop_ends(server: Server, tmp_path: Path) -> None:
    server.answers["/some.zip"] = moved("/some.zip")
    assert "redirected more than 5 times" in refused(server, tmp_path)


def test_a_plain_address_is_refused_without_a_call(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not https"):
        fetch_file(FILE._replace(url="http://127.0.0.1:9/some.zip"), tmp_path)


def test_an_unknown_certificate_is_refused(server: Server, tmp_path: Path) -> None:
    server.answers["/some.zip"] = whole(CONTENT)
    assert "certificate is not trusted" in refused(server, tmp_path, ca=None)
    assert not server.asked


def test_the_certificate_given_wins_over_the_environment(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers["/some.zip"] = whole(CONTENT)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "missing.pem"))
    assert fetch_file(FILE, tmp_path, server.connection()).exists()


def test_offline_says_what_to_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    connection = Connection(base_url=f"https://127.0.0.1:{port}", pause=0.0)
    with pytest.raises(DataError, match=r"offline.*some\.zip \(102400 bytes, MD5") as caught:
        fetch_file(FILE, tmp_path, connection)
    assert str(tmp_path / "some.zip") in str(caught.value)


def test_a_wrong_file_placed_by_hand_is_replaced(server: Server, tmp_path: Path) -> None:
    (tmp_path / "some.zip").write_bytes(b"x" * len(CONTENT))
    server.answers["/some.zip"] = whole(CONTENT)
    assert fetch_file(FILE, tmp_path, server.connection()).read_bytes() == CONTENT


def test_what_a_killed_process_left_is_swept(server: Server, tmp_path: Path) -> None:
    (tmp_path / ".some.zip.part").mkdir()
    (tmp_path / ".some.zip.part" / "half").write_bytes(CONTENT[:10])
    (tmp_path / ".some.zip.lock").touch()
    server.answers["/some.zip"] = whole(CONTENT)
    fetch_file(FILE, tmp_path, server.connection())
    assert sorted(tree(tmp_path)) == [".some.zip.lock", "some.zip"]


def test_eight_askers_make_one_download(server: Server, tmp_path: Path) -> None:
    server.answers["/some.zip"] = whole(CONTENT)
    start = threading.Barrier(8)

    def ask(_: int) -> bytes:
        start.wait()
        return fetch_file(FILE, tmp_path, server.connection()).read_bytes()

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(8))) == {CONTENT}
    assert server.asked == ["/some.zip"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
def test_a_full_disk_is_no_network_fault(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(staged: Path, final: Path) -> None:
        raise OSError(number, "planted")

    server.answers["/some.zip"] = whole(CONTENT)
    monkeypatch.setattr(download, "publish", fail)
    with pytest.raises(ResourceError, match=r"cannot be written \(planted\)"):
        fetch_file(FILE, tmp_path, server.connection())
    assert sorted(tree(tmp_path)) == [".some.zip.lock"]


def test_a_cache_that_cannot_be_made(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError, match="METACCORD_CACHE"):
        fetch_file(FILE, tmp_path / "file" / "below", server.connection())
