"""Checks server addresses and converts them to the form that gRPC needs.

gRPC accepts almost any text as a host name: it looks up `http://host` in DNS, uses port 443 by default, and takes a
port modulo 65536. So this module checks the address and always adds the port.
"""

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_address

from fantasia_client.validation import short_repr

DEFAULT_PORT = 50051
DEFAULT_SERVER = f"localhost:{DEFAULT_PORT}"

_EXAMPLE = f"write HOST:PORT, such as {DEFAULT_SERVER}"
_OTHER_RESOLVERS = ("unix", "unix-abstract", "vsock", "xds", "google-c2p")
"""gRPC's name schemes without host and port (https://grpc.github.io/grpc/core/md_doc_naming.html)."""
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(//)?")
_WEB = {"http": "", "https": "; for an encrypted connection, turn TLS on"}


def normalize_address(server: object) -> str:
    """The address in the form that gRPC needs, with its port.

    Args:
        server: `HOST`, `HOST:PORT`, an IPv6 address with or without brackets, or a gRPC name:
            `dns:[//authority/]HOST[:PORT]`, `ipv4:ADDRESS[:PORT],...`, `ipv6:ADDRESS,...`, `unix:PATH`.

    Raises:
        ValueError: the address is invalid; the message names the wrong part.
    """
    if not isinstance(server, str) or not server.strip():
        raise ValueError(f"the server's address must not be {short_repr(server)}: {_EXAMPLE}")
    text = server.strip()
    if any(character.isspace() or not character.isprintable() for character in text):
        raise ValueError(f"the server's address {short_repr(text)} contains a space or a control character: {_EXAMPLE}")
    match = _SCHEME.match(text)
    scheme, slashes, rest = (match[1].lower(), match[2], text[match.end() :]) if match else ("", None, text)
    if scheme in _OTHER_RESOLVERS:
        return text
    if scheme in ("dns", "ipv4", "ipv6") and rest.isdigit() and not slashes:
        return f"dns:///{_host_and_port(text, text)}"  # a host with the name of a scheme, and its port
    if scheme == "dns":
        authority, name = "", rest
        if slashes:
            authority, slash, name = rest.partition("/")
            if not slash:
                raise ValueError(f"the server's address {short_repr(text)} has no host: write dns:///HOST:PORT")
            authority = f"//{authority}/"
        return f"dns:{authority}{_host_and_port(name, text)}"
    if scheme in ("ipv4", "ipv6"):
        kind = IPv4Address if scheme == "ipv4" else IPv6Address
        return f"{scheme}:" + ",".join(_numeric(part, kind, text) for part in text[5:].split(","))
    if slashes:
        suggestion = rest.split("/")[0] or DEFAULT_SERVER
        raise ValueError(
            f"the server's address {short_repr(text)} must not begin with {short_repr(scheme)[1:-1]}://: "
            f"write {short_repr(suggestion)[1:-1]}{_WEB.get(scheme, '')}"
        )
    return _host_and_port(text, text)


def is_local(server: str) -> bool:
    """Whether all of an address from `normalize_address` is on this machine."""
    scheme, _, rest = server.partition(":")
    if scheme in ("unix", "unix-abstract"):
        return True
    hosts = rest.split(",") if scheme in ("ipv4", "ipv6") else [server.removeprefix("dns:").rpartition("/")[2]]
    return all(_is_loopback(host.rpartition(":")[0].strip("[]")) for host in hosts)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


def _numeric(part: str, kind: type[IPv4Address | IPv6Address], text: str) -> str:
    """One address of an `ipv4:` or `ipv6:` list, with its port."""
    address = _host_and_port(part, text)
    host = address.rpartition(":")[0].strip("[]").partition("%")[0]
    try:
        kind(host)
    except AddressValueError:
        version = "IPv4" if kind is IPv4Address else "IPv6"
        raise ValueError(
            f"{short_repr(host)} in the server's address {short_repr(text)} is not an {version} address"
        ) from None
    return address


def _host_and_port(name: str, text: str) -> str:
    """`HOST:PORT` for a name with or without a port; `text` is the whole address, for error messages."""
    if "," in name:
        raise ValueError(
            f"the server's address {short_repr(text)} names several hosts: write "
            "ipv4:ADDRESS:PORT,ADDRESS:PORT, or one name that resolves to all of them"
        )
    if name.startswith("["):
        host, bracket, rest = name[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")) or not _is_ipv6(host):
            raise ValueError(f"the server's address {short_repr(text)} is wrong: write IPv6 as [::1]:{DEFAULT_PORT}")
        return f"[{host}]:{_port(rest[1:], text) if rest else DEFAULT_PORT}"
    if name.count(":") > 1:
        if not _is_ipv6(name):
            raise ValueError(
                f"the server's address {short_repr(text)} is not an IPv6 address; "
                f"with a port, write [::1]:{DEFAULT_PORT}"
            )
        return f"[{name}]:{DEFAULT_PORT}"
    host, colon, port = name.partition(":")
    if host.isdigit() and not colon:
        raise ValueError(f"the server's address {short_repr(text)} is a port without a host: write localhost:{host}")
    return f"{_host(host, text)}:{_port(port, text) if colon else DEFAULT_PORT}"


def _is_ipv6(host: str) -> bool:
    address, percent, zone = host.partition("%")
    try:
        IPv6Address(address)
    except AddressValueError:
        return False
    return re.fullmatch(r"[\w.-]+", zone) is not None if percent else True


def _host(host: str, text: str) -> str:
    if not host:
        raise ValueError(f"the server's address {short_repr(text)} has no host: {_EXAMPLE}")
    if wrong := re.search(r"[/?#@\\\[\]]", host):
        raise ValueError(f"the server's address {short_repr(text)} must not contain {wrong[0]!r}: {_EXAMPLE}")
    try:
        name = host.encode("idna").decode()  # also refuses labels that are empty or longer than 63 characters
    except UnicodeError:
        raise ValueError(f"{short_repr(host)} in the server's address is not a host name: {_EXAMPLE}") from None
    if re.fullmatch(r"[\d.]+", name):
        try:
            IPv4Address(name)
        except AddressValueError as error:
            raise ValueError(f"{name} in the server's address {short_repr(text)} is not an IPv4 address") from error
    return name


def _port(port: str, text: str) -> int:
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535):
        raise ValueError(
            f"the port in the server's address {short_repr(text)} must be 1 to 65535, not {short_repr(port)}"
        )
    return int(port)
