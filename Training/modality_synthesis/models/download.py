"""Fetch a file from an address, encrypted all the way; plain http only from this very machine."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from modality_synthesis.errors import BadInputError
from modality_synthesis.models import contents
from modality_synthesis.progress import Reporter

_TIMEOUT_SECONDS = 30
_LOCAL_HOSTS = {"localhost", "127.0.0.1", "::1"}
_CHUNK = 1 << 20


def local_path(address: str) -> Path:
    """The path of a `file://` address.

    Raises:
        BadInputError: it names another machine.
    """
    parts = urlsplit(address)
    if parts.netloc not in ("", "localhost"):
        raise BadInputError(f"{address}: a file address of another machine; copy the file here first.")
    return Path(urllib.request.url2pathname(parts.path))


def download(address: str, path: Path, reporter: Reporter) -> Path:
    """Download an address into a file.

    Raises:
        BadInputError: not https, too large, incomplete, or not reachable.
    """
    _check_scheme(address, local_allowed=True)
    shown = without_secrets(address)
    local = _is_local(address)
    # What stays on this machine is no proxy's business: it would see the address, with a token in it.
    direct = [urllib.request.ProxyHandler({})] if local else []
    opener = urllib.request.build_opener(_CheckedRedirects(local_allowed=local), *direct)
    total = received = 0
    try:
        with opener.open(address, timeout=_TIMEOUT_SECONDS) as answer, path.open("wb") as stream:
            total = int(answer.headers.get("Content-Length") or 0)
            _check_size(total, shown)
            while chunk := answer.read(_CHUNK):
                received += len(chunk)
                _check_size(received, shown)
                stream.write(chunk)
                reporter.progress(min(received / total, 1.0) if total else 0.5, "Downloading")
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        told = error if isinstance(error, urllib.error.HTTPError) else getattr(error, "reason", "") or error
        reason = str(told) or type(error).__name__
        raise BadInputError(f"{shown} could not be downloaded: {reason.splitlines()[0][:200]}") from None
    if total and received != total:
        raise BadInputError(f"{shown}: only {received} of {total} bytes arrived. Try again.")
    return path


def without_secrets(address: str) -> str:
    """The address without user, password and query: those may be secrets, and messages end up in logs."""
    # Cut as text: what is to be shown may be no proper address.
    scheme, _, rest = address.partition("://")
    host, slash, path = rest.partition("?")[0].partition("#")[0].partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


class _CheckedRedirects(urllib.request.HTTPRedirectHandler):
    """Checks every hop before it is taken: a look at the last address would come too late."""

    def __init__(self, *, local_allowed: bool) -> None:
        self._local_allowed = local_allowed

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        _check_scheme(newurl, local_allowed=self._local_allowed)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check_scheme(address: str, *, local_allowed: bool) -> None:
    try:
        secure = urlsplit(address).scheme.lower() == "https"
        allowed = secure or (local_allowed and _is_local(address))
    except ValueError as error:
        raise BadInputError(f"The address cannot be understood: {error}.") from None
    if "@" in urlsplit(address).netloc:
        raise BadInputError(f"{without_secrets(address)}: addresses with a user name are not taken; download it first.")
    if not allowed:
        raise BadInputError(f"{without_secrets(address)}: models are downloaded through https only.")


def _is_local(address: str) -> bool:
    parts = urlsplit(address)
    return parts.scheme.lower() == "http" and parts.hostname in _LOCAL_HOSTS


def _check_size(size: int, shown: str) -> None:
    if size > contents.LARGEST_BYTES:
        raise BadInputError(f"{shown}: larger than {contents.LARGEST_BYTES >> 30} GiB; refused.")
