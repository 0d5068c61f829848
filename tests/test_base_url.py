"""Base URLs: one spelling each, and where a key may go."""

from __future__ import annotations

import pytest

from selfinstruct.base_url import ApiKey, is_loopback, normal_base_url, proxy_of
from selfinstruct.errors import ConfigProblem


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("https://api.openai.com", "https://api.openai.com/v1"),
        ("https://api.openai.com/", "https://api.openai.com/v1"),
        ("https://api.openai.com/v1", "https://api.openai.com/v1"),
        (" https://API.OpenAI.com:443/v1/ ", "https://api.openai.com/v1"),
        ("http://localhost:8000", "http://localhost:8000/v1"),
        ("http://127.0.0.1:80//v1//", "http://127.0.0.1/v1"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1"),
        ("https://host.example/api", "https://host.example/api/v1"),
        ("https://host.example/api/paas/v4/", "https://host.example/api/paas/v4"),
        ("https://host.example/v1beta/openai", "https://host.example/v1beta/openai"),
        ("https://host.example/vision", "https://host.example/vision/v1"),
        ("https://bücher.example/v1", "https://xn--bcher-kva.example/v1"),
        ("https://host.example./v1", "https://host.example/v1"),
    ],
)
def test_every_way_to_write_a_url_has_one_normal_form(url: str, normal: str) -> None:
    """The normal form names the endpoint in every call's key; it is its own normal form."""
    assert normal_base_url(url) == normal
    assert normal_base_url(normal) == normal


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "must look like"),
        ("api.openai.com/v1", "must look like"),
        ("ftp://api.openai.com", "must look like"),
        ("file:///etc/passwd", "must look like"),
        ("https:///v1", "must look like"),
        ("https://exa mple.com/v1", "must look like"),
        ("https://host:99999/v1", "is no URL"),
        ("https://host:x/v1", "is no URL"),
        ("https://[::1/v1", "is no URL"),
        ("https://" + "a" * 64 + ".example/v1", "is no URL"),
        ("https://user:secret@host/v1", "holds a user name or password"),
        ("https://host/v1?key=1", "'\\?' or '#' part"),
        ("https://host/v1#a", "'\\?' or '#' part"),
        ("http://169.254.169.254/latest", "link-local or metadata"),
        ("http://[fe80::1]/v1", "link-local or metadata"),
        ("http://[::ffff:169.254.169.254]/v1", "link-local or metadata"),
        ("http://2852039166/v1", "link-local or metadata"),
        ("http://metadata.google.internal/v1", "link-local or metadata"),
        ("http://100.100.100.200/v1", "link-local or metadata"),
    ],
)
def test_a_url_no_api_has_is_refused(url: str, why: str) -> None:
    """With a reason, and without repeating a password."""
    with pytest.raises(ConfigProblem, match=why) as refusal:
        normal_base_url(url)
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize("host", ["localhost", "app.localhost", "127.0.0.1", "127.8.9.1", "[::1]", "127.1", "0.0.0.0"])
def test_this_machine_may_have_the_key_unencrypted(host: str) -> None:
    """A server of one's own needs no certificate."""
    url = f"http://{host}:8000/v1"
    assert normal_base_url(url, key=True) == url
    assert is_loopback(url) is True


@pytest.mark.parametrize("host", ["10.0.0.5", "vllm.internal", "localhost.example.com", "127.0.0.1.example.com"])
def test_the_key_leaves_this_machine_encrypted_or_not_at_all(host: str) -> None:
    """Plain http elsewhere is for servers without a key."""
    url = f"http://{host}/v1"
    assert is_loopback(url) is False
    assert normal_base_url(url) == url
    assert normal_base_url(url.replace("http:", "https:"), key=True) == f"https://{host}/v1"
    with pytest.raises(ConfigProblem, match="would send the key unencrypted"):
        normal_base_url(url, key=True)


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("https://api.openai.com/v1", "http://user:secret@proxy.invalid:3128"),
        ("http://api.example/v1", None),
        ("https://direct.example:8443/v1", None),
        ("https://localhost/v1", None),
        ("https://127.0.0.1:8000/v1", None),
    ],
)
def test_the_proxy_of_a_url_is_the_environments(monkeypatch: pytest.MonkeyPatch, url: str, proxy: str | None) -> None:
    """For its scheme, but for hosts in no_proxy and for this machine."""
    for name in ("http_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", "http://user:secret@proxy.invalid:3128")
    monkeypatch.setenv("no_proxy", "direct.example")
    assert proxy_of(url) == proxy


def test_a_key_is_not_shown_where_it_is_printed_by_mistake() -> None:
    """Its variable is."""
    assert repr(ApiKey("sk-secret", "DEEPSEEK_API_KEY")) == "ApiKey(variable='DEEPSEEK_API_KEY')"
