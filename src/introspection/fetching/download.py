"""Bring a data file into place: the builtin one, the study's own from the network, or one of the user's own."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests
from tqdm import tqdm

from introspection.files import whole
from introspection.sources.datasets import DataError, DataSet

BASE_URL = "https://raw.githubusercontent.com"

_CHUNK = 1 << 10  # bytes; when a transfer breaks, a chunk begun is lost, and these files are small
_TRANSIENT = (408, 425, 429, 500, 502, 503, 504)  # HTTP statuses that may pass


class DownloadError(RuntimeError):
    """The data file could not be brought; the message says why, in one line, and names the way out."""


def copy_data(data_set: DataSet, source: Path, target: Path) -> None:
    """Copy a builtin file, or one of the user's own, to `target`, atomically and only if it has the right format.

    Raises DownloadError.
    """
    try:
        with whole(target) as unfinished:
            shutil.copyfile(source, unfinished)
            _check_format(data_set, unfinished, str(source))
    except OSError as error:
        raise _failure(data_set, f"{source} cannot be copied to {target} ({error.strerror})") from error


def download_data(
    data_set: DataSet,
    target: Path,
    *,
    base_url: str = BASE_URL,
    attempts: int = 5,
    timeout: float = 30.0,
    wait: Callable[[float], None] = time.sleep,
    progress: bool = True,
) -> None:
    """Download the study's own file to `target`, atomically and only if its checksum is the pinned one.

    A transfer that breaks goes on where it broke (or begins again where the server cannot do that), also in a later
    call: what has come lies beside the target, in a `.part` file. `attempts` counts failures in a row of which none got
    further than those before; between them it waits 1, 2, 4, ... seconds through `wait`. `timeout`, in seconds, is for
    the connection and for each silence. Raises DownloadError.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part, url = _part(target), f"{base_url.rstrip('/')}/{data_set.url_path}"
    failures, furthest, restarted = 0, _size(part), False
    while _sha256(part) != data_set.sha256:
        try:
            resumed = _transfer(url, part, data_set.name, timeout, progress)
        except _Broken as broken:
            failures = 1 if _size(part) > furthest else failures + 1
            furthest = max(furthest, _size(part))
            if failures >= attempts:
                raise _failure(data_set, f"{url}: {broken} ({failures} attempts)") from broken
            wait(2.0 ** (failures - 1))
            continue
        except _Refused as refused:
            part.unlink(missing_ok=True)
            raise _failure(data_set, f"{url}: {refused}") from refused
        except OSError as error:
            raise _failure(data_set, f"{part} cannot be written ({error.strerror})") from error
        found = _sha256(part)
        if found != data_set.sha256:
            part.unlink()
            if restarted or not resumed:
                raise _failure(data_set, f"{url}: its sha256 is {found}, but {data_set.sha256} is pinned")
            restarted, furthest = True, 0  # the beginning may have been of something else: once more, from the start
    _check_format(data_set, part, url)
    part.replace(target)


class _Broken(Exception):
    """The transfer failed in a way that may pass."""


class _Refused(Exception):
    """The transfer failed in a way that trying again does not mend."""


class _Session(requests.Session):
    """Follows no redirect from https to anything else, where who listens could put another file in its place."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        target = super().get_redirect_target(resp)
        if target is not None and resp.url.startswith("https:"):
            scheme = urlsplit(urljoin(resp.url, target)).scheme
            if scheme != "https":
                raise _Refused(f"it redirects from https to {scheme}")
        return target


def _transfer(url: str, part: Path, name: str, timeout: float, progress: bool) -> bool:
    """Fetch what `part` still lacks of `url`; true if it went on from what was there.

    Raises _Broken, _Refused, and OSError when `part` cannot be written.
    """
    offset = _size(part)
    # identity: byte ranges and lengths are those of the file, not of a compressed stream
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={offset}-"} if offset else {})
    try:
        with _Session() as session, session.get(url, headers=headers, stream=True, timeout=timeout) as response:
            if response.status_code == requests.codes.requested_range_not_satisfiable:
                part.unlink()  # longer than the file: of something else
                raise _Broken("the server has less than was fetched before")
            if response.status_code in _TRANSIENT:
                raise _Broken(f"HTTP {response.status_code} {response.reason}")
            if not response.ok:
                raise _Refused(f"HTTP {response.status_code} {response.reason}")
            begins = response.headers.get("Content-Range", "").startswith(f"bytes {offset}-")
            resumed = response.status_code == requests.codes.partial_content and begins
            _save(response, part, offset if resumed else 0, name, progress)
            return resumed
    except requests.exceptions.Timeout as error:
        raise _Broken(f"no answer for {timeout:g} seconds") from error
    except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError) as error:
        raise _Broken("the transfer was cut off") from error
    except requests.exceptions.SSLError as error:
        raise _Refused("its certificate is not accepted") from error
    except requests.exceptions.ConnectionError as error:
        raise _Broken("no connection") from error
    except requests.exceptions.RequestException as error:
        raise _Refused(f"no valid request ({type(error).__name__})") from error


def _save(response: requests.Response, part: Path, offset: int, name: str, progress: bool) -> None:
    length = response.headers.get("Content-Length", "")
    total = offset + int(length) if length.isdigit() else None
    with (
        part.open("ab" if offset else "wb") as file,
        tqdm(desc=name, total=total, initial=offset, unit="B", unit_scale=True, disable=not progress) as bar,
    ):
        for chunk in response.iter_content(_CHUNK):
            file.write(chunk)
            bar.update(len(chunk))
    if total is not None and _size(part) < total:
        raise _Broken("the transfer was cut off")


def _check_format(data_set: DataSet, path: Path, origin: str) -> None:
    try:
        data_set.read(path)
    except DataError as error:
        raise _failure(data_set, str(error).replace(str(path), origin)) from error


def _failure(data_set: DataSet, reason: str) -> DownloadError:
    return DownloadError(
        f"{data_set.name}: {reason}. Way out: put the file at a path of your own and set "
        f"`{data_set.parameter}` to that path in params.yaml"
    )


def _part(target: Path) -> Path:
    return target.with_name(f"{target.name}.part")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""
