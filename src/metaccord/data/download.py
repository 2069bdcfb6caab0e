"""Download a file of the catalogue: https only, staged, checked, then moved to its name."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urljoin, urlsplit

from metaccord.data.cache import locked, make_folder, publish, unwritable
from metaccord.data.catalogue import RemoteFile
from metaccord.errors import DataError

_CHUNK = 1 << 16
_LARGEST = 1 << 30
_REDIRECTS = 5


@dataclass(frozen=True, kw_only=True)
class Connection:
    """How to reach a server.

    Args:
        base_url: Folder of a mirror, https; None takes the catalogue's addresses.
        ca: File with certificates of authorities to trust instead of the system's.
        retries: Further attempts after a transient fault.
        pause: Seconds before the first of them; doubled each time.
        silence: Seconds without a byte until an attempt fails.
        deadline: Seconds one attempt may take.
        progress: Called with the file and the bytes so far after each chunk.
    """

    base_url: str | None = None
    ca: Path | None = None
    retries: int = 2
    pause: float = 0.5
    silence: float = 20.0
    deadline: float = 900.0
    progress: Callable[[RemoteFile, int], None] | None = None

    def address(self, file: RemoteFile) -> str:
        """Return where ``file`` is taken from."""
        if self.base_url is None:
            return file.url
        return f"{self.base_url.rstrip('/')}/{file.name}"


DIRECT = Connection()
"""The addresses of the catalogue, the system's certificates."""


class _Fault(Exception):
    """An attempt failed; ``transient`` says whether another one may help."""

    def __init__(self, found: str, *, transient: bool = False) -> None:
        super().__init__(found)
        self.transient = transient


def fetch_file(file: RemoteFile, folder: Path, connection: Connection = DIRECT) -> Path:
    """Return the checked file in ``folder``, downloading it if it is not there.

    Several processes may ask at once: one downloads, the others wait for it. What was left by
    a killed process is swept.

    Args:
        file: Name, address, MD5 and size.
        folder: Where it is kept.
        connection: How to reach the server.

    Returns:
        ``folder / file.name``, with the right MD5 and size.

    Raises:
        DataError: if no intact copy could be had.
        ResourceError: if it cannot be written.
    """
    final = folder / file.name
    make_folder(folder)
    staging = folder / f".{file.name}.part"
    try:
        with locked(folder / f".{file.name}.lock"):
            if is_intact(final, file):
                return final
            shutil.rmtree(staging, ignore_errors=True)
            try:
                publish(_attempts(file, staging, connection), final)
            finally:
                shutil.rmtree(staging, ignore_errors=True)
    except _Fault as fault:
        raise DataError(
            f"download of {connection.address(file)} failed: {fault}, expected {file.seal}; try "
            f"again, or get the file by other means and put it at {final}"
        ) from fault
    except OSError as error:
        raise unwritable(final, error) from error
    return final


def is_intact(path: Path, file: RemoteFile) -> bool:
    """Say whether ``path`` is there and has the MD5 and size of ``file``.

    Args:
        path: A local file.
        file: The catalogue's entry.
    """
    if not path.is_file() or (file.size is not None and path.stat().st_size != file.size):
        return False
    with path.open("rb") as handle:
        digest = hashlib.file_digest(handle, lambda: hashlib.md5(usedforsecurity=False))
    return digest.hexdigest() == file.md5


def _attempts(file: RemoteFile, staging: Path, connection: Connection) -> Path:
    """Try to download into ``staging`` as often as the connection allows."""
    for attempt in range(connection.retries + 1):
        try:
            return _attempt(file, staging, connection)
        except _Fault as fault:
            if not fault.transient or attempt == connection.retries:
                raise
        time.sleep(connection.pause * 2**attempt)
    raise AssertionError("the last attempt returns or raises")


def _attempt(file: RemoteFile, staging: Path, connection: Connection) -> Path:
    """Download once; pooch keeps the temporary file and compares the hash."""
    import pooch

    try:
        kept = pooch.retrieve(
            connection.address(file),
            known_hash=f"md5:{file.md5}",
            fname=file.name,
            path=staging,
            downloader=_Downloader(file, connection),
        )
    except ValueError as error:
        raise _Fault("found a file with another MD5") from error
    return Path(kept)


@dataclass(frozen=True)
class _Downloader:
    """What pooch calls with an address and the name of a temporary file."""

    file: RemoteFile
    connection: Connection

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        """Write the answer to ``output_file``, whatever its length; raise ``_Fault``."""
        import requests

        with _faults(), requests.Session() as session:
            session.headers["Accept-Encoding"] = "identity"
            answer = _follow(session, url, self.connection)
            with contextlib.closing(answer), open(output_file, "wb") as handle:
                _judge(answer)
                self._copy(answer, handle)

    def _copy(self, answer: Any, handle: BinaryIO) -> None:
        """Copy the body under the deadline and the length expected."""
        end = time.monotonic() + self.connection.deadline
        largest = _LARGEST if self.file.size is None else self.file.size
        length = 0
        while chunk := answer.raw.read1(_CHUNK, decode_content=False):
            length += len(chunk)
            if length > largest:
                raise _Fault(f"found more than {largest} bytes")
            if time.monotonic() > end:
                raise _Fault(f"found {length} bytes after {self.connection.deadline:g} seconds")
            handle.write(chunk)
            if self.connection.progress is not None:
                self.connection.progress(self.file, length)
        if self.file.size is not None and length != self.file.size:
            raise _Fault(f"found {length} bytes", transient=length < self.file.size)


@contextlib.contextmanager
def _faults() -> Iterator[None]:
    """Turn what the network raises into ``_Fault``; errors of the disk pass."""
    import requests
    import urllib3

    try:
        yield
    except requests.exceptions.SSLError as error:
        raise _Fault("the server's certificate is not trusted") from error
    except (requests.Timeout, urllib3.exceptions.TimeoutError) as error:
        raise _Fault("the server fell silent", transient=True) from error
    except requests.ConnectionError as error:
        raise _Fault("no connection (offline?)", transient=True) from error
    except (urllib3.exceptions.HTTPError, ConnectionError) as error:
        raise _Fault("cut off", transient=True) from error
    except requests.RequestException as error:
        raise _Fault(f"the address cannot be used ({error})") from error


def _follow(session: Any, url: str, connection: Connection) -> Any:
    """Ask for ``url`` and follow a few redirections, none of them away from https."""
    for _ in range(_REDIRECTS + 1):
        if urlsplit(url).scheme != "https":
            raise _Fault(f"led to {url}, which is not https")
        answer = session.get(
            url,
            stream=True,
            allow_redirects=False,
            timeout=connection.silence,
            verify=True if connection.ca is None else str(connection.ca),
        )
        if not answer.is_redirect:
            return answer
        url = urljoin(url, answer.headers["Location"])
        answer.close()
    raise _Fault(f"redirected more than {_REDIRECTS} times")


def _judge(answer: Any) -> None:
    """Refuse anything but a plain success."""
    if answer.status_code != 200:
        late = answer.status_code == 429 or answer.status_code >= 500
        raise _Fault(f"found HTTP status {answer.status_code}", transient=late)
    if "html" in answer.headers.get("Content-Type", "").lower():
        raise _Fault("found an HTML page (a login or error page?)")
