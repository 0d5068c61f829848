"""Base URLs: one spelling for each, and none that would carry a key where it must not go."""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

from selfinstruct.errors import ConfigProblem

_DEFAULT_PORT = {"http": 80, "https": 443}
# Instance-metadata services answer anyone on the machine with its credentials; two sit outside the link-local ranges.
_METADATA_HOSTS = frozenset({"metadata.google.internal", "metadata", "100.100.100.200", "fd00:ec2::254"})


@dataclass(frozen=True)
class ApiKey:
    """A key, and the environment variable it came from: what an error names, where the value must not be seen."""

    value: str = field(repr=False)
    variable: str = "OPENAI_API_KEY"


def normal_base_url(url: str, *, key: bool = False) -> str:
    """The one spelling of an API's base URL, without a trailing slash: ``https://host[:port]/…/v1``.

    ``/v1`` is added unless the path names a version already (``/api/paas/v4``). ``key`` says that a key will be sent.
    Raises `ConfigProblem` for a URL with a user name, a query, another scheme than http(s), a link-local or metadata
    address, or plain http off this machine with a key.
    """
    parts, host = _split(url)
    if parts.username is not None or parts.password is not None:
        raise ConfigProblem("the base URL holds a user name or password; give the key by OPENAI_API_KEY instead")
    if parts.query or parts.fragment:
        raise ConfigProblem(f"the base URL {url!r} has a '?' or '#' part; give only scheme, host and path")
    if host in _METADATA_HOSTS or _is_link_local(host):
        raise ConfigProblem(f"the base URL {url!r} is a link-local or metadata address; no model answers there")
    if parts.scheme == "http" and key and not _is_this_machine(host):
        raise ConfigProblem(f"the base URL {url!r} would send the key unencrypted; use https, or unset the key")
    port = "" if parts.port in (None, _DEFAULT_PORT[parts.scheme]) else f":{parts.port}"
    path = re.sub(r"/{2,}", "/", parts.path).rstrip("/")
    if not re.search(r"/v[0-9]\w*(/|\Z)", path):
        path += "/v1"
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}{path}"


def is_loopback(url: str) -> bool:
    """Whether a URL leads back to this machine, so that no proxy must see it."""
    return _is_this_machine(_split(url)[1])


def proxy_of(url: str) -> str | None:
    """The proxy that the environment names for a URL, its password included; None for this machine's own."""
    parts = urlsplit(url)
    if is_loopback(url) or proxy_bypass(parts.netloc):
        return None
    return getproxies().get(parts.scheme)


def _split(url: str) -> tuple[SplitResult, str]:
    """The parts of a URL and its host in lower-case ASCII."""
    try:
        parts = urlsplit(url.strip())
        host = (parts.hostname or "").rstrip(".")
        ascii_host = host if ":" in host else host.encode("idna").decode()
        _ = parts.port  # a port that is no number is found here
    except ValueError as problem:  # UnicodeError is one
        raise ConfigProblem(f"the base URL {_unsecret(url)!r} is no URL: {problem}") from problem
    if parts.scheme not in _DEFAULT_PORT or not re.fullmatch(r"[0-9a-z._:%-]+", ascii_host):
        raise ConfigProblem(f"the base URL {_unsecret(url)!r} must look like https://api.example.com/v1")
    return parts, ascii_host


def _unsecret(url: str) -> str:
    return re.sub(r"//[^/]*@", "//…@", url)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The IP address a host name spells, in any way the system's resolver understands (``2130706433``, ``127.1``)."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        try:
            return ipaddress.IPv4Address(socket.inet_aton(host))
        except OSError:
            return None
    return getattr(address, "ipv4_mapped", None) or address


def _is_link_local(host: str) -> bool:
    address = _address(host)
    return address is not None and address.is_link_local


def _is_this_machine(host: str) -> bool:
    address = _address(host)
    if address is None:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified  # 0.0.0.0, as servers print it when they start
