"""The rules by which gRPC chooses a proxy."""

import pytest

from fantasia_client.proxy import Proxy, proxy_for

PROXY = {"http_proxy": "http://proxy:3128"}


@pytest.mark.parametrize(
    ("server", "environment", "expected"),
    [
        ("music:1", {}, None),
        ("music:1", PROXY, Proxy("http_proxy", "proxy:3128", "music")),
        ("music:1", {"http_proxy": "http://proxy"}, Proxy("http_proxy", "proxy:443", "music")),
        ("music:1", PROXY | {"grpc_proxy": "http://other:1"}, Proxy("grpc_proxy", "other:1", "music")),
        ("music:1", PROXY | {"https_proxy": ""}, None),  # the first variable that is set counts
        ("music:1", {"http_proxy": "proxy:3128"}, None),  # gRPC ignores values that are not http:// URLs
        ("music:1", {"http_proxy": "https://proxy:3128"}, None),
        ("music:1", {"http_proxy": "http://proxy:99999"}, None),
        ("music:1", {"HTTP_PROXY": "http://proxy:3128"}, None),
        ("music:1", PROXY | {"no_proxy": "x, MUSIC"}, None),
        ("music:1", PROXY | {"no_proxy": ".music"}, None),
        ("a.music:1", PROXY | {"no_proxy": "music"}, None),
        ("music:1", PROXY | {"no_proxy": "*"}, Proxy("http_proxy", "proxy:3128", "music")),
        ("music:1", PROXY | {"no_grpc_proxy": "x", "no_proxy": "music"}, Proxy("http_proxy", "proxy:3128", "music")),
        ("10.1.2.3:1", PROXY | {"no_proxy": "10.0.0.0/8"}, None),
        ("dns:///music:1", PROXY | {"no_proxy": "music"}, None),
        ("dns:music:1", PROXY, Proxy("http_proxy", "proxy:3128", "music")),
        ("ipv4:10.1.2.3:1,10.1.2.4:1", PROXY, Proxy("http_proxy", "proxy:3128", "10.1.2.3")),
        ("[::1]:1", PROXY, Proxy("http_proxy", "proxy:3128", "::1")),
        ("unix:/run/music", PROXY, None),
    ],
)
def test_the_proxy_is_the_one_that_grpc_uses(server: str, environment: dict[str, str], expected: Proxy | None) -> None:
    assert proxy_for(server, environment) == expected
