"""Where a git server may be: names are looked up once, and the address that was judged is the one that is connected to.

So a name can't lead to one address when it is judged and to another when it is used, and nobody's script address makes
this service knock at doors of its own network.
"""

from __future__ import annotations

import ipaddress
import socket
from contextlib import closing

from featurestore.model.errors import PermissionDenied
from services.extraction.git_settings import GitSettings

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def addresses_of(host: str, port: int, settings: GitSettings) -> list[str]:
    """The addresses of a host that may be connected to, the best first, at least one. Blocks.

    Raises:
        PermissionDenied: `GIT_NETWORK`: the host is in a network that is not public, and not listed.
        OSError: there is no such host.
    """
    found = [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    allowed = [address for address in dict.fromkeys(found) if _may_be_asked(address, settings)]
    if not allowed:
        raise PermissionDenied(
            "GIT_NETWORK",
            f"{host!r} is not at a public address, and ETLs are fetched from other networks only if the operator lists "
            "them in the extraction setting git_networks",
            host=host,
            setting="git_networks",
        )
    return [address for address in allowed if _has_a_route(address, port)] or allowed


def _may_be_asked(text: str, settings: GitSettings) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    real = _embedded(address) or address
    if real.is_global and not real.is_multicast:
        return True
    networks = [ipaddress.ip_network(each) for each in settings.networks]
    return any(real.version == network.version and real in network for network in networks)


def _embedded(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 address only carries."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)


def _has_a_route(address: str, port: int) -> bool:
    """Whether this machine can send there at all, such as by IPv6. Nothing is sent."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with closing(socket.socket(family, socket.SOCK_DGRAM)) as probe:
            probe.connect((address, port))
    except OSError:
        return False
    return True
