"""Whom a fetch may reach: names are looked up once, and what was judged is what is connected to."""

import socket

import pytest

from featurestore.model.errors import PermissionDenied
from services.extraction.git_network import addresses_of
from services.extraction.git_settings import EVERY_NETWORK, GitSettings


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",  # noqa: S104 - an address like another
        "224.0.0.1",
        "::1",
        "fe80::1",
        "fd00::1",
        "::ffff:10.0.0.1",
        "64:ff9b::10.0.0.1",
        "2002:0a00:0001::1",
    ],
)
def test_an_address_that_is_not_public_is_refused_however_it_is_written(address):
    with pytest.raises(PermissionDenied) as refused:
        addresses_of(address, 443, GitSettings())
    assert refused.value.reason == "GIT_NETWORK"
    assert refused.value.details == {"host": address, "setting": "git_networks"}


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700:4700::1111", "::ffff:1.1.1.1"])
def test_a_public_address_is_allowed(address):
    assert addresses_of(address, 443, GitSettings()) == [address]


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("10.1.2.3", "10.0.0.0/8"),
        ("::ffff:10.0.0.1", "10.0.0.0/8"),
        ("fd00::1", "fd00::/8"),
        ("10.1.2.3", "0.0.0.0/0"),
    ],
)
def test_a_listed_network_is_allowed(address, network):
    assert addresses_of(address, 443, GitSettings(networks=frozenset({network}))) == [address]
    with pytest.raises(PermissionDenied):
        addresses_of("192.168.0.1", 443, GitSettings(networks=frozenset({"10.0.0.0/8", "fd00::/8"})))


def test_of_a_name_only_the_addresses_that_are_allowed_are_left(monkeypatch):
    found = ["10.0.0.1", "1.1.1.1", "1.1.1.1", "127.0.0.1"]
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda *_, **__: [(2, 1, 6, "", (each, 443)) for each in found]
    )
    assert addresses_of("git.example", 443, GitSettings()) == ["1.1.1.1"]


def test_only_both_families_together_are_every_network():
    assert GitSettings(networks=EVERY_NETWORK).any_network
    assert not GitSettings(networks=frozenset({"0.0.0.0/0"})).any_network
