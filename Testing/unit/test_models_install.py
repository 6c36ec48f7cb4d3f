"""Installing and exporting: nothing unsafe, damaged or half-finished becomes visible."""

from __future__ import annotations

import hashlib
import http.server
import os
import shutil
import signal
import socket
import stat
import threading
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from test_models_package import WEIGHTS, facts

from modality_synthesis.errors import BadInputError, HashMismatchError, UsageError
from modality_synthesis.models import archive as archive_room
from modality_synthesis.models import contents as contents_room
from modality_synthesis.models import export_model, find_model, install_model, verify_model, write_package
from modality_synthesis.progress import Reporter


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "store"
    folder.mkdir()
    monkeypatch.setenv("MODALITY_SYNTHESIS_MODELS", str(folder))
    return folder


@pytest.fixture
def package(tmp_path):
    return write_package(tmp_path / "made" / "tiny", facts(), WEIGHTS)


@pytest.fixture
def files(package) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(package.folder.iterdir())}


def zipped(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", method) as archive:
        warnings.simplefilter("ignore")  # about the same name twice
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def patched(path: Path, local: int, central: int, value: int) -> Path:
    """A zip whose entries' headers say something else in one byte."""
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", local), (b"PK\x01\x02", central)):
        start = 0
        while (start := content.find(signature, start)) >= 0:
            content[start + offset] = value
            start += 4
    path.write_bytes(content)
    return path


def assert_refused(source: str | Path, store: Path, message: str, error: type = BadInputError, **options) -> None:
    before = {path.name for path in store.iterdir()}
    with pytest.raises(error, match=message) as refusal:
        install_model(source, **options)
    assert str(refusal.value).count("\n") <= 1
    assert {path.name for path in store.iterdir()} == before


def test_progress_runs_from_start_to_end(tmp_path, files):
    seen: list[float] = []
    reporter = Reporter()
    reporter.emit_progress = lambda fraction, stage: seen.append(fraction)  # type: ignore[method-assign]
    install_model(zipped(tmp_path / "in.zip", files), reporter=reporter)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


@pytest.mark.parametrize(
    "name",
    [
        "../evil.json",
        "..\\evil.json",
        "/evil.json",
        "C:\\evil.json",
        "C:evil.json",
        "a/evil.json",
        "evil.py",
        "MODEL.json",
    ],
)
def test_names_that_lead_elsewhere_are_refused(tmp_path, store, files, name):
    assert_refused(zipped(tmp_path / "in.zip", {**files, name: b"{}"}), store, "does not belong")
    assert_refused(zipped(tmp_path / "in.zip", {name: b"{}", **files}), store, "does not belong")
    assert not list(tmp_path.rglob("evil*"))


@pytest.mark.parametrize("top", ["..", ".", "", "C:\\x"])
def test_a_top_folder_that_leads_elsewhere_is_refused(tmp_path, store, files, top):
    entries = {f"{top}/{name}": content for name, content in files.items()}
    if top == "C:\\x":
        # A strange folder's name is dropped, never used.
        assert install_model(zipped(tmp_path / "in.zip", entries)).folder == store / "tiny"
    else:
        assert_refused(zipped(tmp_path / "in.zip", entries), store, "does not belong")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_are_refused(tmp_path, store, files, kind):
    path = zipped(tmp_path / "in.zip", files)
    with zipfile.ZipFile(path, "a") as archive:
        entry = zipfile.ZipInfo("LICENSE")
        entry.external_attr = (kind | 0o777) << 16
        archive.writestr(entry, "/etc/passwd")
    assert_refused(path, store, "does not belong")


def test_a_name_twice_is_refused(tmp_path, store, files):
    path = zipped(tmp_path / "in.zip", files)
    with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("model.json", b"{}")
    assert_refused(path, store, "twice")
    assert_refused(zipped(path, {**files, "a.json": b"1", "A.json": b"2"}), store, "twice")


def test_a_name_with_a_hidden_end_is_refused(tmp_path, store, files):
    path = zipped(tmp_path / "in.zip", {**files, "LICENSEx.py": b"x"})
    path.write_bytes(path.read_bytes().replace(b"LICENSEx.py", b"LICENSE\0.py"))
    assert_refused(path, store, "does not belong|intact zip")


def test_too_many_files_are_refused(tmp_path, store, files):
    many = {f"n{index}.json": b"" for index in range(40)}
    assert_refused(zipped(tmp_path / "in.zip", {**files, **many}), store, "more than 32 files")
    folders = {f"f{index}/": b"" for index in range(100)}
    assert_refused(zipped(tmp_path / "in.zip", {**files, **folders}), store, "too many")


def test_bombs_are_refused_by_what_they_declare(tmp_path, store, files, monkeypatch):
    monkeypatch.setattr(archive_room, "_RATIO_MATTERS_FROM", 2**20)
    path = zipped(tmp_path / "in.zip", {**files, "weights.safetensors": bytes(4 * 2**20)})
    assert_refused(path, store, "suspiciously large")
    monkeypatch.setattr(contents_room, "LARGEST_BYTES", 2**20)
    assert_refused(path, store, "larger than a model package may be")
    monkeypatch.setattr(contents_room, "LARGEST_OTHER_BYTES", 2**10)
    assert_refused(zipped(path, {"NOTICE": bytes(2**11)}), store, "larger than a model package may be")


def test_bombs_are_refused_by_what_unpacks(tmp_path, store, files):
    path = zipped(tmp_path / "in.zip", {"NOTICE": bytes(2**20), **files})
    content = bytearray(path.read_bytes())
    # The sizes that the first entry's headers declare: a lie.
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        start = content.find(signature)
        content[start + offset : start + offset + 4] = (100).to_bytes(4, "little")
    path.write_bytes(content)
    assert_refused(path, store, "intact zip|larger than the archive declares")


def test_a_full_disk_is_noticed_before_unpacking(tmp_path, store, files, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    assert_refused(zipped(tmp_path / "in.zip", files), store, "more than the disk has left")


def test_damaged_encrypted_and_odd_archives_are_refused(tmp_path, store, files):
    path = tmp_path / "in.zip"
    assert_refused(patched(zipped(path, files), 6, 8, 1), store, "encrypted")
    assert_refused(patched(zipped(path, files), 8, 10, 97), store, "unusual way")
    assert_refused(zipped(path, files, zipfile.ZIP_LZMA), store, "unusual way")
    content = bytearray(zipped(path, files).read_bytes())
    middle = zipfile.ZipFile(path).getinfo("weights.safetensors").header_offset + 70
    for index in range(middle, middle + 30):
        content[index] ^= 0xFF
    path.write_bytes(content)
    assert_refused(path, store, "not an intact zip")
    path.write_bytes(b"")
    assert_refused(path, store, "not an intact zip")
    assert_refused(tmp_path / "absent.zip", store, "absent.zip does not exist")
    assert_refused(zipped(path, {}), store, r"no model\.json")
    assert_refused(zipped(path, {"model.json": files["model.json"]}), store, r"no weights\.safetensors")


def test_flipped_weights_are_refused_and_the_message_names_the_source(tmp_path, store, files):
    weights = files["weights.safetensors"]
    damaged = {**files, "weights.safetensors": weights[:-1] + bytes([weights[-1] ^ 1])}
    assert_refused(zipped(tmp_path / "in.zip", damaged), store, r"in\.zip is not installed", HashMismatchError)
    with pytest.raises(HashMismatchError) as refusal:
        install_model(tmp_path / "in.zip")
    assert ".ms-" not in str(refusal.value)


def test_the_expected_hash_must_match(tmp_path, store, package, files):
    path = zipped(tmp_path / "in.zip", files)
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    assert_refused(path, store, "not the expected one", HashMismatchError, sha256="0" * 64)
    assert_refused(path, store, "64 hexadecimal", UsageError, sha256="abc")
    assert_refused(package.folder, store, "a folder has none", UsageError, sha256=right)
    assert install_model(path, sha256=right.upper()).card.id == "tiny"


def test_a_folder_with_other_things_is_refused(store, package):
    (package.folder / "setup.py").write_text("raise SystemExit")
    assert_refused(package.folder, store, "does not belong")
    (package.folder / "setup.py").unlink()
    (package.folder / "NOTICE").symlink_to("/etc/hostname")
    assert_refused(package.folder, store, "does not belong")


def test_replacing_needs_a_word_and_a_failing_replacement_keeps_the_old(tmp_path, store, package, files):
    install_model(package.folder)
    newer = write_package(tmp_path / "newer" / "tiny", facts(version="1.1.0"), WEIGHTS)
    assert_refused(newer.folder, store, r"tiny 1\.0\.0 is installed already.*--replace.*1\.1\.0")
    bad = zipped(tmp_path / "bad.zip", {**files, "weights.safetensors": b"x"})
    assert_refused(bad, store, "SHA-256", HashMismatchError, replace=True)
    assert verify_model("tiny").card.version == "1.0.0"
    assert install_model(newer.folder, replace=True).card.version == "1.1.0"
    assert [path.name for path in store.iterdir()] == ["tiny"]


def test_a_damaged_package_in_the_place_is_named_and_can_be_replaced(store, package):
    installed = install_model(package.folder)
    (installed.folder / "model.json").write_text("{")
    assert_refused(package.folder, store, "damaged package.*--replace")
    install_model(package.folder, replace=True)
    assert verify_model("tiny").folder == store / "tiny"


def test_an_interrupted_install_leaves_nothing(tmp_path, store, package, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    room = "modality_synthesis.models.transfer"
    # While copying, verifying, deciding, and moving into place.
    for name in ("shutil.copyfile", "verify_package", "_refuse_replacing", "os.replace"):
        with monkeypatch.context() as patch:
            patch.setattr(f"{room}.{name}", interrupt)
            with pytest.raises(KeyboardInterrupt):
                install_model(package.folder)
        assert list(store.iterdir()) == []


def test_what_a_killed_install_left_is_removed_by_the_next(store, package, monkeypatch):
    child = os.fork()
    if child == 0:
        monkeypatch.setattr(
            "modality_synthesis.models.transfer.verify_package", lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        )
        install_model(package.folder)
        os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    assert any(store.iterdir())
    install_model(package.folder)
    assert [path.name for path in store.iterdir()] == ["tiny"]


def test_a_store_that_cannot_be_written_says_so(tmp_path, package, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MODALITY_SYNTHESIS_MODELS", str(tmp_path / "file" / "models"))
    with pytest.raises(BadInputError, match="MODALITY_SYNTHESIS_MODELS"):
        install_model(package.folder)


def test_export_is_the_same_bytes_and_installs_again(tmp_path, store, package, files):
    install_model(package.folder)
    first = export_model("tiny", tmp_path / "a.zip").read_bytes()
    for path in (store / "tiny").iterdir():
        os.utime(path, (1e9, 1e9))
        path.chmod(0o600)
    assert export_model("tiny", tmp_path / "b.zip").read_bytes() == first
    assert export_model(package.folder, tmp_path / "c.zip").read_bytes() == first
    installed = install_model(tmp_path / "a.zip", replace=True)
    assert {path.name: path.read_bytes() for path in installed.folder.iterdir()} == files


def test_a_damaged_package_is_not_exported(tmp_path, package):
    package.weights_path.write_bytes(b"x")
    with pytest.raises(HashMismatchError):
        export_model(package.folder, tmp_path / "out" / "a.zip")
    assert not (tmp_path / "out").exists()


class Site(http.server.BaseHTTPRequestHandler):
    """A small web site with good and bad answers."""

    protocol_version = "HTTP/1.1"
    archive = b""

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.close_connection = True
        path = self.path.partition("?")[0]
        if path == "/in.zip":
            self.answer(200, {"Content-Length": str(len(self.archive))}, self.archive)
        elif path == "/unannounced":
            self.answer(200, {}, self.archive)
        elif path == "/short":
            self.answer(200, {"Content-Length": str(len(self.archive) + 9)}, self.archive)
        elif path == "/huge":
            self.answer(200, {"Content-Length": str(2**40)}, b"")
        elif path == "/chunks":
            self.answer(200, {"Transfer-Encoding": "chunked"}, b"100\r\nabc")
        elif path == "/nonsense":
            self.wfile.write(b"nonsense\r\n\r\n")
        elif path == "/here":
            self.answer(302, {"Location": "/in.zip", "Content-Length": "0"}, b"")
        elif path.startswith("/to-"):
            places = {
                "/to-http": "http://example.invalid/x.zip",
                "/to-file": "file:///etc/hostname",
                "/to-ftp": "ftp://h/x",
            }
            self.answer(302, {"Location": places[path], "Content-Length": "0"}, b"")
        else:
            self.answer(404, {"Content-Length": "0"}, b"")

    def answer(self, code: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def site(tmp_path, files, monkeypatch) -> Iterator[str]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(Site, "archive", zipped(tmp_path / "site.zip", files).read_bytes())
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("page", ["/in.zip", "/unannounced", "/here"])
def test_install_from_this_machine_s_address(site, store, files, page):
    installed = install_model(site + page, sha256=hashlib.sha256(Site.archive).hexdigest())
    assert {path.name: path.read_bytes() for path in installed.folder.iterdir()} == files
    assert [path.name for path in store.iterdir()] == ["tiny"]


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("/absent", "could not be downloaded.*404"),
        ("/short", r"only \d+ of \d+ bytes arrived|could not be downloaded"),
        ("/huge", "larger than"),
        ("/chunks", "could not be downloaded"),
        ("/nonsense", "could not be downloaded"),
        ("/to-http", "https only"),
        ("/to-file", "https only|not allowed"),
        ("/to-ftp", "https only"),
    ],
)
def test_bad_answers_are_refused(site, store, page, message):
    assert_refused(site + page, store, message)


def test_a_download_stops_at_the_limit(site, store, monkeypatch):
    monkeypatch.setattr(contents_room, "LARGEST_BYTES", 100)
    assert_refused(f"{site}/unannounced", store, "larger than")


def test_a_silent_server_does_not_hold_the_program(store, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr("modality_synthesis.models.download._TIMEOUT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert_refused(f"http://127.0.0.1:{silent.getsockname()[1]}/x.zip", store, "timed out")


@pytest.mark.parametrize(
    "address",
    [
        "http://example.invalid/x.zip",
        "ftp://example.invalid/x.zip",
        "http://127.0.0.1.example.invalid/x",
        "data://x",
        "http://[bad",
    ],
)
def test_only_https_is_taken_from_elsewhere(store, address):
    assert_refused(address, store, "https only|cannot be understood")


def test_secrets_of_an_address_are_not_repeated(site, store):
    for address in (f"{site}/absent?token=secret", "https://me:secret@example.invalid/x.zip"):
        with pytest.raises(BadInputError) as refusal:
            install_model(address)
        assert "secret" not in str(refusal.value)


def test_install_from_a_file_address(tmp_path, store, files):
    path = zipped(tmp_path / "with space.zip", files)
    assert install_model(path.as_uri()).card.id == "tiny"
    assert find_model("tiny").folder == store / "tiny"
    assert_refused("file://server/share/x.zip", store, "another machine", replace=True)
