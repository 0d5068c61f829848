"""Is everything there that a run needs? One finding a check, each with what to do; `selfinstruct doctor` prints them.

Nothing is written but temporary files, which are removed. Nothing is spent, but for the probe, where it is asked for.
"""

from __future__ import annotations

import asyncio
import difflib
import importlib.util
import os
import platform
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from selfinstruct import __version__, call_path, endpoints, gpus, machine_checks, naming
from selfinstruct.base_url import ApiKey, proxy_of
from selfinstruct.config import Settings
from selfinstruct.engine import interpreter
from selfinstruct.errors import (
    AccessDenied,
    ConfigProblem,
    Rejected,
    RequestRefused,
    SelfinstructError,
    UnknownModel,
)
from selfinstruct.machine_checks import Finding, failed, ok
from selfinstruct.model_recipe import ModelRecipe
from selfinstruct.models import opening
from selfinstruct.models.listing import list_models
from selfinstruct.models.opening import Opened
from selfinstruct.money import PRICE_HINT, Price, show_money, show_price
from selfinstruct.schema import Completion, Draw, Message, Request, Sampling

_LONGEST_UNMASKED = 12


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
    yield ok("python", f"Python {platform.python_version()}, selfinstruct {__version__}")
    yield _vllm(subject) if subject.recipe.api == "vllm" else _extras(subject)
    yield from machine_checks.environment(os.environ)
    yield from machine_checks.output_folder(subject.settings)
    yield machine_checks.open_files(subject.settings, _in_flight(subject))
    try:
        subject = replace(subject, recipe=naming.named(subject.recipe))
    except ConfigProblem as error:
        yield failed("model", error, "another --endpoint" if subject.recipe.endpoint else "another --base-url")
        return
    opened = _opened(subject)
    refused = opened if isinstance(opened, Finding) else None
    if subject.is_api and not (refused and refused.check == "key"):
        yield _key(subject)
    yield refused or ok("model", _described(subject))
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


# --- the model ------------------------------------------------------------------------------------------------------


def _in_flight(subject: Subject) -> int:
    """How many calls are in flight where nobody says."""
    of_api = {"local": opening.EMBEDDED_CONCURRENCY, "vllm": opening.VLLM_CONCURRENCY}
    return of_api.get(subject.recipe.api, opening.API_CONCURRENCY)


def _vllm(subject: Subject) -> Finding:
    """The vLLM a run would start, and the GPUs it would find; its packages' metadata are read, nothing is loaded."""
    try:
        python = interpreter.required(subject.settings.vllm_python)
    except ConfigProblem as error:
        return failed("vllm", error, interpreter.SETUP)
    build = gpus.build_of(python, os.environ)
    if build is None:
        problem = ConfigProblem(f"{python} has no vLLM")
        return failed("vllm", problem, f"{interpreter.SETUP}, or another --vllm-python")
    seen = ", ".join(f"GPU {gpu.number} {gpu.name}" for gpu in gpus.visible(gpus.listed(), os.environ))
    found = f"{build.told} ({python}); {seen or 'no GPU'}"
    if build.cpu or seen:
        return ok("vllm", found)
    return Finding("vllm", "warn", found, "make setup-vllm BUILD=cpu  is for machines without GPU")


def _extras(subject: Subject) -> Finding:
    there = importlib.util.find_spec("xllamacpp") is not None
    found = f"local: xllamacpp {'is' if there else 'is not'} installed"
    if there or subject.recipe.api != "local":
        return ok("extras", found if there else f"{found}; only --api local needs it")
    return Finding("extras", "fail", found, "pip install 'selfinstruct[local]'", ConfigProblem.exit_code)


def _key(subject: Subject) -> Finding:
    if subject.key.value:
        return ok("key", f"{subject.key.variable}: {masked(subject.key.value)}")
    return ok("key", f"{subject.key.variable} is not set; a server of your own may need none")


def _opened(subject: Subject) -> Opened | Finding:
    """The backend a run would have, opened as a run would; nothing is asked yet."""
    try:
        return opening.open_model(subject.recipe, subject.settings)
    except AccessDenied as error:
        return failed("key", error, f"export {subject.key.variable}=…, whole and without line breaks")
    except UnknownModel as error:
        return failed("model", error, "another --model")
    except SelfinstructError as error:
        fixes = {
            "local": "selfinstruct models fetch",
            "vllm": interpreter.SETUP if not _has_vllm(subject) else "--model",
        }
        return failed("model", error, fixes.get(subject.recipe.api, "another --base-url"))


def _has_vllm(subject: Subject) -> bool:
    try:
        return interpreter.find(subject.settings.vllm_python) is not None
    except ConfigProblem:
        return False


def _described(subject: Subject) -> str:
    recipe = subject.recipe
    where = f" at {recipe.base_url}" if recipe.base_url else ""
    return f"--api {recipe.api}, {recipe.name or 'as recorded'}{where}"


def _proxy(url: str) -> Finding:
    proxy = proxy_of(url)
    if proxy is None:
        return ok("proxy", "none in use")
    at = urlsplit(proxy)
    return ok("proxy", f"{at.hostname}:{at.port or ''} ({urlsplit(url).scheme.upper()}_PROXY)")  # never its password


def _certificates(url: str, environment: Mapping[str, str]) -> Finding:
    if urlsplit(url).scheme == "http":
        return ok("certificates", "not needed for plain http")
    own = environment.get("SSL_CERT_FILE")
    paths = ssl.get_default_verify_paths()
    if own and not Path(own).is_file():
        problem = ConfigProblem(f"SSL_CERT_FILE={own}: no such file")
        return failed("certificates", problem, "unset it, or name a file of certificate authorities")
    if not (paths.cafile or paths.capath):
        problem = ConfigProblem("this system has no certificate authorities")
        return failed("certificates", problem, "install ca-certificates, or name a file in SSL_CERT_FILE")
    return ok("certificates", str(own or paths.cafile or paths.capath))


def _listed(subject: Subject) -> Finding:
    """What the server says it has. Many list more or less than they serve, so only a missing model is a failure."""
    listing = asyncio.run(list_models(subject.recipe.base_url, subject.key))
    took = f"{1000 * listing.seconds:.0f} ms"
    if isinstance(listing.problem, AccessDenied):
        return failed("server", listing.problem, f"another {subject.key.variable}")
    if isinstance(listing.problem, ConfigProblem | RequestRefused | Rejected):
        fix = "look at --base-url; --probe sends a request as a run would"
        return Finding("server", "warn", f"{listing.problem} ({took})", fix)
    if listing.problem is not None:
        return failed("server", listing.problem, "start the server, or look at --base-url and the proxy")
    found = f"answers in {took}, lists {len(listing.names)} models"
    if subject.recipe.name in listing.names:
        return ok("server", f"{found}, {subject.recipe.name} among them")
    close = difflib.get_close_matches(subject.recipe.name, listing.names, n=5) or listing.names[:5]
    problem = UnknownModel(f"{found}, and no {subject.recipe.name}")
    return failed("server", problem, f"--model {' or '.join(close)}" if close else "another --base-url")


def _price(subject: Subject) -> Finding:
    recipe = subject.recipe
    try:
        price = call_path.price_finder(recipe.base_url or recipe.api, subject.settings)(recipe.name)
    except ConfigProblem as error:
        return failed("price", error, PRICE_HINT)
    if price is not None:
        return ok("price", show_price(price))
    if not subject.is_api:
        return ok("price", f"nothing is billed by --api {recipe.api}")
    return Finding("price", "warn", f"unknown for {recipe.name}; costs are not counted", PRICE_HINT)


def _probed(subject: Subject, opened: Opened | None) -> Finding:
    if not subject.probe:
        return ok("probe", "not asked; --probe sends one real request of one token")
    if opened is None or subject.recipe.api == "replay":
        return ok("probe", "not asked: there is no model to ask")
    try:
        completion, seconds = asyncio.run(_ask(opened))
    except SelfinstructError as error:
        return failed("probe", error, "what the finding says")
    price = call_path.price_finder(opened.endpoint.identity, subject.settings)(opened.endpoint.model)
    found = f"{completion.model or 'a nameless model'} answered in {seconds:.2f} s"
    if not completion.prompt_tokens:
        fix = "caps count each of its calls at the most it could use; look for a setting of the server"
        return Finding("probe", "warn", f"{found} and counts no tokens", fix)
    return ok("probe", f"{found}: {_counted(completion, price)}")


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
