"""Downloads against a local server that cuts, corrupts and refuses."""

import dataclasses
import hashlib
import io
import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests
from ruamel.yaml import YAML

from introspection.fetching.download import DownloadError, copy_data, download_data
from introspection.sources.datasets import DATA_SETS, DataError, DataSet, read_contrast_prompts, read_suffixes
from tests.processes import run_script

ROOT = Path(__file__).parent.parent
ORIGINAL = ROOT.parent / "shared" / "data" / "all_truncated_outputs.json"

# Long enough for a transfer to break in the middle; the server's own file, so that no network is needed.
CONTENT = json.dumps([f"reply number {number} begins" for number in range(8000)]).encode()
SUFFIXES = dataclasses.replace(DATA_SETS["suffixes"], sha256=hashlib.sha256(CONTENT).hexdigest())


class Server(ThreadingHTTPServer):
    """Serves `content`, each request after the next of `plan`; then all is well.

    A plan is a status code, "close" (the connection, unanswered), "corrupt", or the number of bytes to cut off after.
    """

    content = CONTENT
    ranges = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.plan: list[int | str] = []
        self.requests: list[tuple[str, str | None]] = []  # path, Range header

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers["Range"]
        server.requests.append((self.path, wanted))
        step = server.plan.pop(0) if server.plan else "ok"
        self.close_connection = True
        if step == "close":
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if isinstance(step, int) and 400 <= step < 600:
            self.send_error(step)
            return
        body = server.content if step != "corrupt" else bytes(reversed(server.content))
        offset = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and server.ranges else 0
        if offset >= len(body):
            self.send_error(416)
            return
        self.send_response(206 if wanted and server.ranges else 200)
        if wanted and server.ranges:
            self.send_header("Content-Range", f"bytes {offset}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - offset))
        self.end_headers()
        self.wfile.write(body[offset:] if not isinstance(step, int) else body[offset:step])

    def log_message(self, format: str, *arguments: object) -> None:
        """Keep quiet."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def fetch(server: Server, tmp_path: Path, waits: list[float]) -> Callable[..., Path]:
    """Download from the server to a file, noting how long it would have waited."""

    def run(data_set: DataSet = SUFFIXES) -> Path:
        target = tmp_path / "raw" / "suffixes.json"
        download_data(data_set, target, base_url=server.url, attempts=3, timeout=5, wait=waits.append, progress=False)
        return target

    return run


def leftovers(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "raw").iterdir())


def test_a_whole_transfer(server: Server, fetch: Callable[..., Path], waits: list[float], tmp_path: Path) -> None:
    assert fetch().read_bytes() == CONTENT
    assert server.requests == [(f"/{SUFFIXES.url_path}", None)]
    assert waits == []
    assert leftovers(tmp_path) == ["suffixes.json"]


def test_a_cut_transfer_goes_on_where_it_broke(
    server: Server, fetch: Callable[..., Path], waits: list[float], tmp_path: Path
) -> None:
    server.plan = [102_400, 153_700]
    assert fetch().read_bytes() == CONTENT
    assert [wanted for _, wanted in server.requests] == [None, "bytes=102400-", "bytes=153600-"]
    assert waits == [1.0, 1.0]  # each got further than the one before; of what is cut, whole kilobytes are kept
    assert leftovers(tmp_path) == ["suffixes.json"]


def test_a_cut_transfer_begins_again_where_the_server_knows_no_ranges(
    server: Server, fetch: Callable[..., Path], waits: list[float]
) -> None:
    server.ranges = False
    server.plan = [100_000, 80_000]
    assert fetch().read_bytes() == CONTENT
    assert waits == [1.0, 2.0]


def test_more_cuts_than_attempts_are_borne_while_each_gets_further(server: Server, fetch: Callable[..., Path]) -> None:
    server.plan = [20_000 * step for step in range(1, 9)]
    assert fetch().read_bytes() == CONTENT


@pytest.mark.parametrize("failure", [500, 503, 429, "close"])
def test_a_refusal_that_passes(
    server: Server, fetch: Callable[..., Path], waits: list[float], failure: int | str
) -> None:
    server.plan = [failure, failure]
    assert fetch().read_bytes() == CONTENT
    assert waits == [1.0, 2.0]


@pytest.mark.parametrize(
    ("plan", "reason", "requests"),
    [
        ([404], "HTTP 404 Not Found", 1),
        ([403], "HTTP 403 Forbidden", 1),
        ([500, 500, 500], r"HTTP 500 Internal Server Error \(3 attempts\)", 3),
        (["close", "close", "close"], r"no connection \(3 attempts\)", 3),
        ([50_000, 50_000, 50_000], r"the transfer was cut off \(3 attempts\)", 3),
        (["corrupt"], f"its sha256 is [0-9a-f]{{64}}, but {SUFFIXES.sha256} is pinned", 1),
    ],
)
def test_a_lasting_failure_is_one_line_that_names_the_way_out(
    server: Server, fetch: Callable[..., Path], tmp_path: Path, plan: list[int | str], reason: str, requests: int
) -> None:
    server.plan = plan
    server.ranges = False
    with pytest.raises(DownloadError, match=rf"^suffixes: {server.url}/[^ ]+: {reason}\. Way out: ") as error:
        fetch()
    assert "set `data.suffixes` to that path in params.yaml" in str(error.value)
    assert "\n" not in str(error.value)
    assert len(server.requests) == requests
    assert not (tmp_path / "raw" / "suffixes.json").exists()


class Elsewhere(requests.adapters.BaseAdapter):
    """Answers a first request with a redirect, any other with the file."""

    def __init__(self, target: str) -> None:
        super().__init__()
        self.target, self.asked = target, []

    def send(self, request: requests.PreparedRequest, **_: object) -> requests.Response:
        response = requests.Response()
        response.request, response.url, response.raw = request, str(request.url), io.BytesIO(CONTENT)
        response.status_code = 200 if self.asked else 302
        response.headers["Location"] = self.target
        self.asked.append(response.url)
        return response

    def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize("target", ["http://elsewhere.test/x", "HTTP://elsewhere.test/x", "ftp://elsewhere.test/x"])
def test_a_redirect_that_leaves_https_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    server = Elsewhere(target)
    monkeypatch.setattr(requests.Session, "get_adapter", lambda *_, **__: server)
    with pytest.raises(
        DownloadError, match=r"^suffixes: https://.*: it redirects from https to (http|ftp)\. Way out: "
    ):
        download_data(SUFFIXES, tmp_path / "suffixes.json", progress=False)
    assert len(server.asked) == 1 and not list(tmp_path.iterdir())


@pytest.mark.parametrize("target", ["https://elsewhere.test/x", "/x", "x", "//elsewhere.test/x"])
def test_a_redirect_within_https_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    server = Elsewhere(target)
    monkeypatch.setattr(requests.Session, "get_adapter", lambda *_, **__: server)
    download_data(SUFFIXES, tmp_path / "suffixes.json", progress=False)
    assert (tmp_path / "suffixes.json").read_bytes() == CONTENT
    assert len(server.asked) == 2 and all(url.startswith("https://") for url in server.asked)


def test_no_network(tmp_path: Path, waits: list[float]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    with pytest.raises(
        DownloadError, match=r"strongreject: .*: no connection \(4 attempts\)\. .*`data.contrast_prompts`"
    ):
        download_data(
            DATA_SETS["strongreject"], tmp_path / "x.csv", base_url=url, attempts=4, wait=waits.append, progress=False
        )
    assert waits == [1.0, 2.0, 4.0]


def test_a_silent_server_is_given_up(tmp_path: Path, waits: list[float]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(DownloadError, match=r"no answer for 0.05 seconds \(2 attempts\)"):
            download_data(SUFFIXES, tmp_path / "x", base_url=url, attempts=2, timeout=0.05, wait=waits.append)


def test_a_later_call_goes_on_with_what_has_come(server: Server, fetch: Callable[..., Path], tmp_path: Path) -> None:
    server.plan = [122_880, 500, 500]
    with pytest.raises(DownloadError):
        fetch()
    assert leftovers(tmp_path) == ["suffixes.json.part"]
    server.requests.clear()
    assert fetch().read_bytes() == CONTENT
    assert [wanted for _, wanted in server.requests] == ["bytes=122880-"]


@pytest.mark.parametrize("stale", [b"something else", bytes(len(CONTENT)), bytes(len(CONTENT) + 1)])
def test_a_stale_part_is_thrown_away(server: Server, fetch: Callable[..., Path], tmp_path: Path, stale: bytes) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "suffixes.json.part").write_bytes(stale)
    assert fetch().read_bytes() == CONTENT
    assert server.requests[-1][1] is None


def test_a_complete_part_needs_no_server(server: Server, fetch: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "suffixes.json.part").write_bytes(CONTENT)
    assert fetch().read_bytes() == CONTENT
    assert server.requests == []


def test_a_server_that_cuts_and_corrupts_is_given_up(server: Server, fetch: Callable[..., Path]) -> None:
    server.content = bytes(reversed(CONTENT))
    server.plan = [100_000, "ok", 100_000, "ok", 100_000, "ok"]
    with pytest.raises(DownloadError, match="sha256"):
        fetch()
    assert len(server.requests) == 4  # what was put together from parts gets one more chance


def test_a_failed_download_leaves_the_old_file(server: Server, fetch: Callable[..., Path]) -> None:
    target = fetch()
    server.plan = ["corrupt"]
    with pytest.raises(DownloadError):
        fetch()
    assert target.read_bytes() == CONTENT


def test_a_pinned_file_of_the_wrong_format_is_refused(server: Server, fetch: Callable[..., Path]) -> None:
    server.content = b'{"not": "a list"}'
    pinned = dataclasses.replace(SUFFIXES, sha256=hashlib.sha256(server.content).hexdigest())
    with pytest.raises(DownloadError, match=rf"suffixes: {server.url}.*: wanted: a JSON list of strings"):
        fetch(pinned)


def test_the_pinned_checksum_is_that_of_the_original() -> None:
    """Against the copy of the original where it is present, else against the design's figure."""
    expected = "c87990913b839fa792b751b532a8f9abc372770bf4d34a1de358a3a233edb6e5"
    if ORIGINAL.exists():
        assert hashlib.sha256(ORIGINAL.read_bytes()).hexdigest() == expected
        assert len(read_suffixes(ORIGINAL)) == 582
    assert DATA_SETS["suffixes"].sha256 == expected


def test_builtin_data() -> None:
    suffixes = read_suffixes(ROOT / "data" / "builtin" / "suffixes.json")
    assert len(suffixes) >= 400
    assert len(set(suffixes)) == len(suffixes)
    assert suffixes.count("") == 1
    assert all(suffix == suffix.strip() for suffix in suffixes)
    prompts = read_contrast_prompts(ROOT / "data" / "builtin" / "contrast_prompts.csv")
    assert len(set(prompts)) == len(prompts) >= 100
    assert any('"' in prompt and "," in prompt for prompt in prompts)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "not JSON"),
        ('{"a": 1}', "wanted: a JSON list of strings"),
        ('["a", 1]', "wanted: a JSON list of strings"),
        ('["a"]', "1 suffixes; a vector needs two"),
        ("\udcff", "not UTF-8"),
        ('["a", "b\\ud800", "c"]', r"string 2: half of a pair of surrogates .* is no character; write it whole"),
        (json.dumps(["a", "b" * 10**6]), "string 2: 1000000 characters are too many .*; cut it to 10000"),
    ],
)
def test_a_wrong_suffix_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=message) as error:
        read_suffixes(path)
    assert str(error.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column forbidden_prompt in the header, which is: $"),
        ("prompt\na\nb\n", "no column forbidden_prompt in the header, which is: prompt"),
        ("category,source,forbidden_prompt\na,b,c\na,b\n", "record 2: wanted: category,source,forbidden_prompt,"),
        ("category,source,forbidden_prompt\na,b,\na,b,c\n", "record 1: wanted: .* with a forbidden_prompt"),
        ("category,source,forbidden_prompt\na,b,c\n", "1 prompts; a vector needs two"),
        ('category,source,forbidden_prompt\na,b,"c\n', "not CSV"),
        ("forbidden_prompt\na\n" + "b" * 100_000, "record 2: 100000 characters are too many .*; cut it to 10000"),
        ("forbidden_prompt\na\n" + "b" * 10**6, "not CSV"),
    ],
)
def test_a_wrong_prompt_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message) as error:
        read_contrast_prompts(path)
    assert str(error.value).startswith(f"{path}: ")


def test_a_character_beyond_the_first_65536_is_one(tmp_path: Path) -> None:
    """Which JSON may write as a pair of surrogates; and a text may be long."""
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(["\N{GRINNING FACE}", "é" * 10_000]))
    assert "\\ud83d" in path.read_text() and read_suffixes(path) == ["\N{GRINNING FACE}", "é" * 10_000]


def test_quoted_fields_hold_commas_quotes_and_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_bytes(b'\xef\xbb\xbfcategory,source,forbidden_prompt\r\na,b,"say ""no"", twice\r\nor so"\r\na,b,c\r\n')
    assert read_contrast_prompts(path) == ['say "no", twice\r\nor so', "c"]


def test_a_file_of_ones_own_is_copied_byte_for_byte_or_refused(tmp_path: Path) -> None:
    mine, target = tmp_path / "mine.json", tmp_path / "raw" / "suffixes.json"
    mine.write_bytes(b'\xef\xbb\xbf["one",\r\n "two"]')
    copy_data(SUFFIXES, mine, target)
    assert target.read_bytes() == mine.read_bytes()
    mine.write_bytes(b"[]")
    with pytest.raises(DownloadError, match=rf"^suffixes: {mine}: 0 suffixes; .*`data.suffixes`"):
        copy_data(SUFFIXES, mine, target)
    with pytest.raises(DownloadError, match=r"^suffixes: .*absent.json cannot be copied .*No such file"):
        copy_data(SUFFIXES, tmp_path / "absent.json", target)
    assert leftovers(tmp_path) == ["suffixes.json"]
    assert read_suffixes(target) == ["one", "two"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A checkout as the download stage sees it."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "data" / "builtin", tmp_path / "data" / "builtin")
    return tmp_path


def run_stage(project: Path, *arguments: str, **data: str) -> subprocess.CompletedProcess[str]:
    """Run the stage in `project` with these keys of `data` in its params.yaml."""
    yaml = YAML()
    params = yaml.load(project / "params.yaml")
    params["data"].update(data)
    yaml.dump(params, project / "params.yaml")
    return run_script(project, ROOT / "stages" / "download.py", *arguments)


@pytest.mark.parametrize(("name", "file"), [("suffixes", "suffixes.json"), ("strongreject", "contrast_prompts.csv")])
def test_the_stage_copies_the_builtin_file(project: Path, name: str, file: str) -> None:
    done = run_stage(project, name, source="builtin")
    assert (done.returncode, done.stderr) == (0, "")
    assert (project / "data/raw" / file).read_bytes() == (ROOT / "data/builtin" / file).read_bytes()
    assert [path.name for path in (project / "data/raw").iterdir()] == [file]


def test_the_stage_prefers_a_file_of_ones_own(project: Path) -> None:
    (project / "mine.csv").write_text("forbidden_prompt\none\ntwo\n")
    done = run_stage(project, "strongreject", source="original", contrast_prompts="mine.csv")
    assert (done.returncode, done.stderr) == (0, "")
    assert read_contrast_prompts(project / "data/raw/contrast_prompts.csv") == ["one", "two"]
    done = run_stage(project, "strongreject", contrast_prompts="not there.csv")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: strongreject: not there.csv cannot be copied")
    assert done.stderr.count("\n") == 1


def test_the_stage_says_in_a_line_what_the_network_would_not_do(project: Path, server: Server) -> None:
    server.plan = [404]
    done = run_stage(project, "suffixes", "--base-url", server.url, source="original")
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: suffixes: {server.url}/{SUFFIXES.url_path}: HTTP 404 Not Found. Way out: ")
    assert done.stderr.count("\n") == 1
    assert not list((project / "data/raw").iterdir())
