"""Server addresses: what a caller may write, and the form that gRPC takes.

gRPC takes nearly any text for a host name: it would look up `http://host` in DNS, use port 443 where none is
given, and take a port modulo 65536. So addresses are checked here, and the port is always written out.
"""

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from fantasia_client.fields import shown

DEFAULT_PORT = 50051
DEFAULT_SERVER = f"localhost:{DEFAULT_PORT}"

_EXAMPLE = f"write HOST:PORT, such as {DEFAULT_SERVER}"
_OTHER_RESOLVERS = ("unix", "unix-abstract", "vsock", "xds", "google-c2p")
"""gRPC's name schemes whose names hold neither host nor port (https://grpc.github.io/grpc/core/md_doc_naming.html)."""
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(//)?")
_WEB = {"http": "", "https": "; for an encrypted connection, turn TLS on"}


def checked_server(server: object) -> str:
    """The address as gRPC takes it, its port written out.

    Args:
        server: `HOST`, `HOST:PORT`, an IPv6 address with or without brackets, or a gRPC name:
            `dns:[//authority/]HOST[:PORT]`, `ipv4:ADDRESS[:PORT],...`, `ipv6:ADDRESS,...`, `unix:PATH`.

    Raises:
        ValueError: it is none of these; the message says which part is wrong.
    """
    if not isinstance(server, str) or not server.strip():
        raise ValueError(f"the server's address must not be {shown(server)}: {_EXAMPLE}")
    text = server.strip()
    if any(character.isspace() or not character.isprintable() for character in text):
        raise ValueError(f"the server's address {shown(text)} holds a space or a control character: {_EXAMPLE}")
    match = _SCHEME.match(text)
    scheme, slashes, rest = (match[1].lower(), match[2], text[match.end() :]) if match else ("", None, text)
    if scheme in _OTHER_RESOLVERS:
        return text
    if scheme in ("dns", "ipv4", "ipv6") and rest.isdigit() and not slashes:
        return f"dns:///{_host_and_port(text, text)}"  # a host of that name, and its port
    if scheme == "dns":
        authority, name = "", rest
        if slashes:
            authority, slash, name = rest.partition("/")
            if not slash:
                raise ValueError(f"the server's address {shown(text)} has no host: write dns:///HOST:PORT")
            authority = f"//{authority}/"
        return f"dns:{authority}{_host_and_port(name, text)}"
    if scheme in ("ipv4", "ipv6"):
        kind = IPv4Address if scheme == "ipv4" else IPv6Address
        return f"{scheme}:" + ",".join(_numeric(part, kind, text) for part in text[5:].split(","))
    if slashes:
        instead = rest.split("/")[0] or DEFAULT_SERVER
        raise ValueError(
            f"the server's address {shown(text)} must not begin with {shown(scheme)[1:-1]}://: "
            f"write {shown(instead)[1:-1]}{_WEB.get(scheme, '')}"
        )
    return _host_and_port(text, text)


def _numeric(part: str, kind: type[IPv4Address | IPv6Address], text: str) -> str:
    """One address of an `ipv4:` or `ipv6:` list, with its port."""
    address = _host_and_port(part, text)
    host = address.rpartition(":")[0].strip("[]").partition("%")[0]
    try:
        kind(host)
    except AddressValueError:
        version = "IPv4" if kind is IPv4Address else "IPv6"
        raise ValueError(f"{shown(host)} in the server's address {shown(text)} is no {version} address") from None
    return address


def _host_and_port(name: str, text: str) -> str:
    """`HOST:PORT`, for a name with or without a port; `text` is the whole address, for the message."""
    if "," in name:
        raise ValueError(
            f"the server's address {shown(text)} names several hosts: write "
            "ipv4:ADDRESS:PORT,ADDRESS:PORT, or one name that resolves to all of them"
        )
    if name.startswith("["):
        host, bracket, rest = name[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")) or not _is_ipv6(host):
            raise ValueError(f"the server's address {shown(text)} is wrong: write IPv6 as [::1]:{DEFAULT_PORT}")
        return f"[{host}]:{_port(rest[1:], text) if rest else DEFAULT_PORT}"
    if name.count(":") > 1:
        if not _is_ipv6(name):
            raise ValueError(
                f"the server's address {shown(text)} is no IPv6 address; with a port it is written [::1]:{DEFAULT_PORT}"
            )
        return f"[{name}]:{DEFAULT_PORT}"
    host, colon, port = name.partition(":")
    if host.isdigit() and not colon:
        raise ValueError(f"the server's address {shown(text)} is a port without a host: write localhost:{host}")
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
        raise ValueError(f"the server's address {shown(text)} has no host: {_EXAMPLE}")
    if wrong := re.search(r"[/?#@\\\[\]]", host):
        raise ValueError(f"the server's address {shown(text)} must not hold {wrong[0]!r}: {_EXAMPLE}")
    try:
        name = host.encode("idna").decode()  # also refuses empty labels, and those of more than 63 characters
    except UnicodeError:
        raise ValueError(f"{shown(host)} in the server's address is no host name: {_EXAMPLE}") from None
    if re.fullmatch(r"[\d.]+", name):
        try:
            IPv4Address(name)
        except AddressValueError as error:
            raise ValueError(f"{name} in the server's address {shown(text)} is no IPv4 address") from error
    return name


def _port(port: str, text: str) -> int:
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535):
        raise ValueError(f"the port in the server's address {shown(text)} must be 1 to 65535, not {shown(port)}")
    return int(port)
