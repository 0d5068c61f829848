"""Is everything there that a run needs? One finding a check, each with what to do; `selfinstruct doctor` prints them.

Nothing is written but temporary files, which are removed. Nothing is spent, but for the probe, where it is asked for.
"""

from __future__ import annotations

import asyncio
import difflib
import importlib.util
import os
import platform
import resource
import shutil
import ssl
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from selfinstruct import __version__, call_path, endpoints, naming, run_folder
from selfinstruct.base_url import ApiKey, proxy_of
from selfinstruct.config import Settings
from selfinstruct.errors import (
    AccessDenied,
    ConfigProblem,
    OutputFailed,
    Rejected,
    RequestRefused,
    SelfinstructError,
    UnknownModel,
)
from selfinstruct.model_recipe import ModelRecipe
from selfinstruct.models import opening
from selfinstruct.models.listing import list_models
from selfinstruct.models.opening import Opened
from selfinstruct.money import PRICE_HINT, Price, show_money, show_price
from selfinstruct.schema import Completion, Draw, Message, Request, Sampling

State = Literal["ok", "warn", "fail"]

_SYNCS, _BLOCK = 20, bytes(4096)
_SYNC_SECONDS = 1.0  # a slow disk has shown what it is by then
_SLOW_SYNC_MS = 50.0  # longer than a group of the ledger should wait
_LITTLE_DISK, _NO_DISK = 10**9, 5 * 10**7  # bytes; a call leaves 2 to 10 kB
_FILES_BESIDE = 64  # descriptors a run needs beside its connections
_LONGEST_UNMASKED = 12
_READ = frozenset({"OPENAI_API_KEY", "OPENAI_BASE_URL"})
_OWN = "SELFINSTRUCT_"


class Finding(NamedTuple):
    """What one check found, and what to do about it. ``exit_code`` is that of the error a run would end with."""

    check: str
    state: State
    found: str
    fix: str = ""
    exit_code: int = 0


@dataclass(frozen=True)
class Subject:
    """What is examined: who answers, and the settings; ``probe`` is the leave to spend on one request.

    ``recipe`` becomes a `named` one as soon as its base URL has been found to be one.
    """

    recipe: ModelRecipe
    settings: Settings
    probe: bool = False

    @property
    def is_api(self) -> bool:
        """Whether a server answers."""
        return self.recipe.api in ("chat", "completion")

    @property
    def key(self) -> ApiKey:
        """The API key; an empty one, with the variable it is looked for in, where there is none."""
        try:
            return naming.key_for(self.recipe, self.settings) or ApiKey("")
        except AccessDenied:
            return ApiKey("", endpoints.load(self.recipe.endpoint).key_variable)


def examine(subject: Subject) -> Iterator[Finding]:
    """Every check, in the order in which a person would mend what fails."""
    yield _ok("python", f"Python {platform.python_version()}, selfinstruct {__version__}")
    yield _extras(subject)
    yield from _environment(os.environ)
    yield from _folder(subject.settings)
    yield _open_files(subject)
    try:
        subject = replace(subject, recipe=naming.named(subject.recipe))
    except ConfigProblem as error:
        yield _failed("model", error, "another --endpoint" if subject.recipe.endpoint else "another --base-url")
        return
    opened = _opened(subject)
    refused = opened if isinstance(opened, Finding) else None
    if subject.is_api and not (refused and refused.check == "key"):
        yield _key(subject)
    yield refused or _ok("model", _described(subject))
    if subject.is_api and refused is None:
        yield _proxy(subject.recipe.base_url)
        yield _certificates(subject.recipe.base_url, os.environ)
        yield _listed(subject)
    yield _price(subject)
    yield _probed(subject, None if isinstance(opened, Finding) else opened)


def exit_code(findings: list[Finding]) -> int:
    """That of the first check that failed; 0 when none did."""
    return next((finding.exit_code for finding in findings if finding.state == "fail"), 0)


def masked(key: str) -> str:
    """A key, so that its owner knows it again and nobody else can use it."""
    return f"{key[:3]}...{key[-2:]}" if len(key) > _LONGEST_UNMASKED else "set, too short to show any of it"


def _ok(check: str, found: str) -> Finding:
    return Finding(check, "ok", found)


def _failed(check: str, error: SelfinstructError, fix: str) -> Finding:
    return Finding(check, "fail", str(error), fix, error.exit_code)


# --- this machine ---------------------------------------------------------------------------------------------------


def _extras(subject: Subject) -> Finding:
    there = importlib.util.find_spec("xllamacpp") is not None
    found = f"local: xllamacpp {'is' if there else 'is not'} installed"
    if there or subject.recipe.api != "local":
        return _ok("extras", found if there else f"{found}; only --api local needs it")
    return Finding("extras", "fail", found, "pip install 'selfinstruct[local]'", ConfigProblem.exit_code)


def _environment(environment: Mapping[str, str]) -> list[Finding]:
    """Variables that look as if they did something here, and do not. Names only: their values may be secret."""
    findings = []
    unread = sorted(name for name in environment if name.startswith("OPENAI_") and name not in _READ)
    if unread:
        fix = "unset them; fields for the body go into model.extra_body, and a key's organisation follows from the key"
        findings.append(Finding("environment", "warn", f"set and not read: {', '.join(unread)}", fix))
    fields = Settings.model_fields.items()
    known = [_OWN + name.upper() for name, field in fields if field.validation_alias is None]
    for name in sorted(environment):
        if name.upper().startswith(_OWN) and name.upper() not in {*known, _OWN + "FAILPOINTS"}:
            close = difflib.get_close_matches(name.upper(), known, n=1)
            fix = f"did you mean {close[0]}?" if close else "unset it"
            findings.append(Finding("environment", "warn", f"{name} is no setting of ours", fix))
    return findings or [_ok("environment", "no variable that looks like a setting and is none")]


def _folder(settings: Settings) -> list[Finding]:
    """Checks that write into the output folder, or into the one it would be made in."""
    folder = settings.output_dir.absolute()
    where = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryDirectory(prefix=".selfinstruct-doctor-", dir=where) as temporary:
            made = "" if where == folder else "; it will be made"
            found = [_ok("output folder", f"{folder}: writable{made}")]
            found += [_file_system(Path(temporary), settings), _syncs(Path(temporary)), _disk(where)]
    except (OSError, OutputFailed) as error:
        said = error.strerror if isinstance(error, OSError) else error
        problem = OutputFailed(f"{folder}: cannot write here: {said}")
        return [_failed("output folder", problem, "choose another --output-dir, or make it writable")]
    if where == folder and where.stat().st_mode & 0o002:
        found[0] = Finding("output folder", "warn", f"{folder}: everybody may write here", f"chmod o-w {folder}")
    return found


def _file_system(temporary: Path, settings: Settings) -> Finding:
    """Its type, and whether a run's lock can be taken and given back on it."""
    kind = run_folder.file_system(temporary) or "of unknown type"
    with run_folder.held(temporary / "run", allow_network=True):
        pass
    try:
        with run_folder.held(temporary / "run", allow_network=False):
            return _ok("file system", f"{kind}; its locks work")
    except OutputFailed as error:
        found = f"{kind}: a network file system, where a ledger cannot be kept safely"
        state: State = "warn" if settings.allow_network_fs else "fail"
        fix = "a local --output-dir, or SELFINSTRUCT_ALLOW_NETWORK_FS=1 at your own risk"
        return Finding("file system", state, found, fix, error.exit_code)


def _syncs(temporary: Path) -> Finding:
    times: list[float] = []
    with (temporary / "synced").open("wb") as file:
        while len(times) < _SYNCS and sum(times) < _SYNC_SECONDS:
            started = time.perf_counter()
            file.write(_BLOCK)
            file.flush()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - started)
    median = 1000 * statistics.median(times)
    found = f"median {median:.2f} ms for 4 KiB; that long a group of calls waits to be durable"
    if median <= _SLOW_SYNC_MS:
        return _ok("fsync", found)
    return Finding("fsync", "warn", found, "an --output-dir on a faster disk, or SELFINSTRUCT_SYNC=0 (see the README)")


def _disk(where: Path) -> Finding:
    free = shutil.disk_usage(where).free
    found = f"{free / 10**9:.1f} GB free"
    if free >= _LITTLE_DISK:
        return _ok("disk", found)
    state: State = "warn" if free >= _NO_DISK else "fail"
    return Finding("disk", state, found, "make room; 'selfinstruct plan' says how much", OutputFailed.exit_code)


def _open_files(subject: Subject) -> Finding:
    default = opening.API_CONCURRENCY if subject.is_api else opening.EMBEDDED_CONCURRENCY
    needed = (subject.settings.concurrency or default) + _FILES_BESIDE
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY or limit >= needed:
        return _ok("open files", f"{'no limit' if limit == resource.RLIM_INFINITY else limit}, {needed} needed")
    return Finding("open files", "warn", f"at most {limit}, and {needed} are needed", f"ulimit -n {2 * needed}")


# --- the model ------------------------------------------------------------------------------------------------------


def _key(subject: Subject) -> Finding:
    if subject.key.value:
        return _ok("key", f"{subject.key.variable}: {masked(subject.key.value)}")
    return _ok("key", f"{subject.key.variable} is not set; a server of your own may need none")


def _opened(subject: Subject) -> Opened | Finding:
    """The backend a run would have, opened as a run would; nothing is asked yet."""
    try:
        return opening.open_model(subject.recipe, subject.settings)
    except AccessDenied as error:
        return _failed("key", error, f"export {subject.key.variable}=…, whole and without line breaks")
    except UnknownModel as error:
        return _failed("model", error, "another --model")
    except SelfinstructError as error:
        local = subject.recipe.api == "local"
        return _failed("model", error, "selfinstruct models fetch" if local else "another --base-url")


def _described(subject: Subject) -> str:
    recipe = subject.recipe
    where = f" at {recipe.base_url}" if recipe.base_url else ""
    return f"--api {recipe.api}, {recipe.name or 'as recorded'}{where}"


def _proxy(url: str) -> Finding:
    proxy = proxy_of(url)
    if proxy is None:
        return _ok("proxy", "none in use")
    at = urlsplit(proxy)
    return _ok("proxy", f"{at.hostname}:{at.port or ''} ({urlsplit(url).scheme.upper()}_PROXY)")  # never its password


def _certificates(url: str, environment: Mapping[str, str]) -> Finding:
    if urlsplit(url).scheme == "http":
        return _ok("certificates", "not needed for plain http")
    own = environment.get("SSL_CERT_FILE")
    paths = ssl.get_default_verify_paths()
    if own and not Path(own).is_file():
        problem = ConfigProblem(f"SSL_CERT_FILE={own}: no such file")
        return _failed("certificates", problem, "unset it, or name a file of certificate authorities")
    if not (paths.cafile or paths.capath):
        problem = ConfigProblem("this system has no certificate authorities")
        return _failed("certificates", problem, "install ca-certificates, or name a file in SSL_CERT_FILE")
    return _ok("certificates", str(own or paths.cafile or paths.capath))


def _listed(subject: Subject) -> Finding:
    """What the server says it has. Many list more or less than they serve, so only a missing model is a failure."""
    listing = asyncio.run(list_models(subject.recipe.base_url, subject.key))
    took = f"{1000 * listing.seconds:.0f} ms"
    if isinstance(listing.problem, AccessDenied):
        return _failed("server", listing.problem, f"another {subject.key.variable}")
    if isinstance(listing.problem, ConfigProblem | RequestRefused | Rejected):
        fix = "look at --base-url; --probe sends a request as a run would"
        return Finding("server", "warn", f"{listing.problem} ({took})", fix)
    if listing.problem is not None:
        return _failed("server", listing.problem, "start the server, or look at --base-url and the proxy")
    found = f"answers in {took}, lists {len(listing.names)} models"
    if subject.recipe.name in listing.names:
        return _ok("server", f"{found}, {subject.recipe.name} among them")
    close = difflib.get_close_matches(subject.recipe.name, listing.names, n=5) or listing.names[:5]
    problem = UnknownModel(f"{found}, and no {subject.recipe.name}")
    return _failed("server", problem, f"--model {' or '.join(close)}" if close else "another --base-url")


def _price(subject: Subject) -> Finding:
    recipe = subject.recipe
    try:
        price = call_path.price_finder(recipe.base_url or recipe.api, subject.settings)(recipe.name)
    except ConfigProblem as error:
        return _failed("price", error, PRICE_HINT)
    if price is not None:
        return _ok("price", show_price(price))
    if not subject.is_api:
        return _ok("price", f"nothing is billed by --api {recipe.api}")
    return Finding("price", "warn", f"unknown for {recipe.name}; costs are not counted", PRICE_HINT)


def _probed(subject: Subject, opened: Opened | None) -> Finding:
    if not subject.probe:
        return _ok("probe", "not asked; --probe sends one real request of one token")
    if opened is None or subject.recipe.api == "replay":
        return _ok("probe", "not asked: there is no model to ask")
    try:
        completion, seconds = asyncio.run(_ask(opened))
    except SelfinstructError as error:
        return _failed("probe", error, "what the finding says")
    price = call_path.price_finder(opened.endpoint.identity, subject.settings)(opened.endpoint.model)
    found = f"{completion.model or 'a nameless model'} answered in {seconds:.2f} s"
    if not completion.prompt_tokens:
        fix = "caps count each of its calls at the most it could use; look for a setting of the server"
        return Finding("probe", "warn", f"{found} and counts no tokens", fix)
    return _ok("probe", f"{found}: {_counted(completion, price)}")


async def _ask(opened: Opened) -> tuple[Completion, float]:
    """One token, through the backend a run would use."""
    chat = opened.rendering == "chat"
    request = Request(
        draw=Draw(stage="doctor", round=0, slot=0),
        prompt=None if chat else "Hello",
        messages=(Message(role="user", content="Hello"),) if chat else None,
        sampling=Sampling(max_tokens=1),
    )
    started = time.perf_counter()
    try:
        return await opened.model.complete(request), time.perf_counter() - started
    finally:
        await opened.model.aclose()


def _counted(completion: Completion, price: Price | None) -> str:
    tokens = f"{completion.prompt_tokens} tokens in, {completion.completion_tokens} out"
    if price is None:
        return tokens
    return f"{tokens}, {show_money(price.cost(completion.prompt_tokens, completion.completion_tokens), price.currency)}"
