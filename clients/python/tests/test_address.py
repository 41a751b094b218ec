from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.python.tests.conftest import has_ipv6
from fantasia_client.address import normalize_address

if TYPE_CHECKING:
    from clients.python.tests.conftest import Connect, ScriptedServer


@pytest.mark.parametrize(
    ("written", "taken"),
    [
        ("localhost", "localhost:50051"),
        ("localhost:7", "localhost:7"),
        (" localhost:7\n", "localhost:7"),
        ("music.example.org.", "music.example.org.:50051"),
        ("my_host", "my_host:50051"),
        ("b\u00fccher.example:7", "xn--bcher-kva.example:7"),
        ("10.0.0.1", "10.0.0.1:50051"),
        ("::1", "[::1]:50051"),
        ("[::1]", "[::1]:50051"),
        ("[::1]:7", "[::1]:7"),
        ("fe80::1%eth0", "[fe80::1%eth0]:50051"),
        ("dns:music", "dns:music:50051"),
        ("dns:///music", "dns:///music:50051"),
        ("dns:///music:7", "dns:///music:7"),
        ("dns:///[::1]:7", "dns:///[::1]:7"),
        ("dns://10.0.0.53:53/music:7", "dns://10.0.0.53:53/music:7"),
        ("dns:7", "dns:///dns:7"),  # a host called dns
        ("ipv4:1.2.3.4:5,5.6.7.8:5", "ipv4:1.2.3.4:5,5.6.7.8:5"),
        ("ipv4:1.2.3.4", "ipv4:1.2.3.4:50051"),
        ("ipv6:[::1]:5,[::2]", "ipv6:[::1]:5,[::2]:50051"),
        ("ipv6:::1", "ipv6:[::1]:50051"),
        ("unix:/run/fantasia.sock", "unix:/run/fantasia.sock"),
        ("unix:///run/fantasia.sock", "unix:///run/fantasia.sock"),
        ("unix-abstract:fantasia", "unix-abstract:fantasia"),
        ("xds:///music", "xds:///music"),
    ],
)
def test_the_default_port_is_added(written: str, taken: str) -> None:
    assert normalize_address(written) == taken
    assert normalize_address(taken) == taken


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("", "write HOST:PORT, such as localhost:50051"),
        (None, "must not be None"),
        (50051, "must not be 50051"),
        ("local host", "contains a space"),
        ("http://localhost:50051", "must not begin with http://: write localhost:50051"),
        ("https://music.example/v1", "must not begin with https://: write music.example; for an encrypted"),
        ("grpc://localhost", "must not begin with grpc://: write localhost"),
        ("http://", "must not begin with http://: write localhost:50051"),
        ("localhost:70000", "port in the server's address 'localhost:70000' must be 1 to 65535, not '70000'"),
        ("localhost:0", "1 to 65535, not '0'"),
        ("localhost:", "1 to 65535, not ''"),
        ("localhost:-1", "1 to 65535, not '-1'"),
        ("localhost:grpc", "1 to 65535, not 'grpc'"),
        ("localhost:50051/", "1 to 65535, not '50051/'"),
        ("localhost:\u0663", "1 to 65535"),
        (":50051", "has no host"),
        ("50051", "is a port without a host: write localhost:50051"),
        ("::1:50051", "with a port, write [::1]:50051"),
        ("::1%[::1]", "is not an IPv6 address"),
        ("127.0.0.1\u3002", "127.0.0.1. in the server's address"),  # the full stop of Chinese and Japanese
        ("[::1", "write IPv6 as [::1]:50051"),
        ("[::1]7", "write IPv6 as [::1]:50051"),
        ("[localhost]:7", "write IPv6 as [::1]:50051"),
        ("256.1.1.1", "256.1.1.1 in the server's address '256.1.1.1' is not an IPv4 address"),
        ("a..b", "is not a host name"),
        ("x" * 64, "is not a host name"),
        ("music/v1:7", "must not contain '/'"),
        ("me@music:7", "must not contain '@'"),
        ("1.2.3.4:7,5.6.7.8:7", "names several hosts: write ipv4:ADDRESS:PORT,ADDRESS:PORT"),
        ("dns:///a:7,b:7", "names several hosts"),
        ("[::1]:7,[::2]:7", "names several hosts"),
        ("0:50051", "0 in the server's address '0:50051' is not an IPv4 address"),
        ("dns://music", "write dns:///HOST:PORT"),
        ("dns:///music:70000", "must be 1 to 65535"),
        ("ipv4:", "has no host"),
        ("ipv4:localhost:7", "'localhost' in the server's address 'ipv4:localhost:7' is not an IPv4 address"),
        ("ipv6:1.2.3.4:7", "is not an IPv6 address"),
        ("ipv4:1.2.3.4:70000", "must be 1 to 65535"),
    ],
)
def test_an_invalid_address_raises_an_error(written: object, words: str) -> None:
    with pytest.raises(ValueError, match="server's address") as caught:
        normalize_address(written)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 250


PARTS = st.sampled_from(
    [
        "dns:",
        "ipv4:",
        "ipv6:",
        "unix:",
        "http://",
        "//",
        "/",
        "[",
        "]",
        ":",
        "::1",
        "%",
        "eth0",
        ".",
        "a",
        "localhost",
        "127.0.0.1",
        "0",
        "50051",
        "65536",
        "-",
        "_",
        "xn--",
        "@",
        ",",
        "#",
    ]
) | st.sampled_from([" ", "\0", "\u00e9", "\u3002", "\ud800", "x" * 64])


@pytest.mark.slow
@settings(max_examples=1000)
@given(st.lists(PARTS, min_size=1, max_size=6).map("".join))
def test_any_text_is_valid_or_raises_value_error(written: str) -> None:
    try:
        taken = normalize_address(written)
    except ValueError as error:
        taken, words = "localhost:1", str(error)
    else:
        words = "taken"
    assert words.isprintable()
    assert len(words) < 300
    assert normalize_address(taken) == taken


async def test_every_form_of_an_address_connects(
    idle_server: "ScriptedServer", connect: "Connect", tmp_path: Path
) -> None:
    idle_server.start("127.0.0.1:0")
    host, _, port = idle_server.address.rpartition(":")
    for address in (
        f"localhost:{port}",
        f"dns:///localhost:{port}",
        f"ipv4:{host}:{port}",
        f"ipv4:{host}:{port},{host}:1",
    ):
        assert (await connect(address)("generate")).bars == 2


async def test_a_unix_socket_connects(idle_server: "ScriptedServer", connect: "Connect", tmp_path: Path) -> None:
    path = tmp_path / "fantasia.sock"
    idle_server.start(f"unix:{path}")
    assert (await connect(f"unix:{path}")("generate")).bars == 2


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
async def test_an_ipv6_address_connects(idle_server: "ScriptedServer", connect: "Connect") -> None:
    idle_server.start("[::1]:0")
    port = idle_server.address.rpartition(":")[2]
    for address in (f"[::1]:{port}", f"ipv6:[::1]:{port}"):
        assert (await connect(address)("generate")).bars == 2
