"""The seccomp filter, run instruction by instruction: what it says of calls that no test dares to make, on both machines."""

import errno
import struct

import pytest

from featurestore.etl import seccomp, syscalls

PID = 4711
ALLOW, KILL = 0x7FFF0000, 0x80000000
REFUSE = 0x50000 | errno.EPERM
MACHINES = {name.split()[1]: machine for name, machine in syscalls._MACHINES.items()}


@pytest.fixture(params=MACHINES)
def machine(request):
    return MACHINES[request.param]


def verdict(machine, call, *arguments, arch=None):
    """What the kernel would do with this call, by name or number."""
    number = machine.numbers[call] if isinstance(call, str) else call
    padded = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    data = struct.pack(
        "<IIQ6Q",
        number,
        machine.audit_arch if arch is None else arch,
        0,
        *(argument & 0xFFFFFFFFFFFFFFFF for argument in padded),
    )
    program = seccomp.program(PID, machine)
    at, loaded = 0, 0
    while True:
        operation, if_equal, if_not, value = struct.unpack_from("=HBBI", program, at * 8)
        at += 1
        if operation == 0x06:
            return value
        if operation == 0x20:
            (loaded,) = struct.unpack_from("<I", data, value)
        elif operation == 0x54:
            loaded &= value
        else:
            assert operation == 0x15
            at += if_equal if loaded == value else if_not


def test_another_architectures_calls_end_the_worker(machine):
    assert verdict(machine, "read", arch=0x40000003) == KILL


def test_what_a_computation_needs_is_allowed(machine):
    for call in ("read", "write", "mmap", "futex", "openat", "newfstatat", "clock_nanosleep", "exit_group"):
        assert verdict(machine, call) == ALLOW, call


def test_a_number_that_is_not_listed_is_refused(machine):
    listed = set(machine.numbers.values())
    for number in range(600):
        if number not in listed:
            assert verdict(machine, number) == REFUSE, number
    assert verdict(machine, 0x40000000 | machine.numbers["read"]) == REFUSE  # the x32 way in


def test_clone_makes_threads_and_nothing_else(machine):
    assert verdict(machine, "clone", 0x3D0F00) == ALLOW
    assert verdict(machine, "clone", 17) == REFUSE
    assert verdict(machine, "clone", 0x10000000 | 17) == REFUSE
    assert verdict(machine, "clone3") == 0x50000 | errno.ENOSYS


def test_signals_go_to_the_worker_itself_only(machine):
    for call in ("kill", "tgkill"):
        assert verdict(machine, call, PID, 9) == ALLOW
        for pid in (0, -1, 1, PID + 1, -PID):
            assert verdict(machine, call, pid, 9) == REFUSE, pid


def test_no_memory_that_no_limit_counts(machine):
    assert verdict(machine, "mmap", 0, 4096, 3, 0x22) == ALLOW
    assert verdict(machine, "mmap", 0, 4096, 1, 0x01) == ALLOW
    for shared in (0x21, 0x23, 0x40021):
        assert verdict(machine, "mmap", 0, 4096, 3, shared) == REFUSE


def test_limits_are_looked_at_and_only_its_own(machine):
    assert verdict(machine, "prlimit64", 0, 7, 0, 1) == ALLOW
    assert verdict(machine, "prlimit64", PID, 7, 0, 1) == ALLOW
    assert verdict(machine, "prlimit64", 1, 7, 0, 1) == REFUSE
    for new in (1, 2**40):
        assert verdict(machine, "prlimit64", 0, 7, new, 0) == REFUSE


def test_messages_are_sent_to_nobody_else(machine):
    assert verdict(machine, "sendto", 3, 1, 2, 0, 0) == ALLOW
    for address in (1, 2**40):
        assert verdict(machine, "sendto", 3, 1, 2, 0, address) == REFUSE


def test_of_fcntl_and_ioctl_only_the_needed_commands(machine):
    for command in (1, 2, 3, 1030):
        assert verdict(machine, "fcntl", 3, command) == ALLOW
    for command in (4, 6, 8, 1033, 1031):
        assert verdict(machine, "fcntl", 3, command) == REFUSE
    assert verdict(machine, "ioctl", 3, 0x5401) == ALLOW
    for command in (0x5412, 0x541B, 0x5402):
        assert verdict(machine, "ioctl", 3, command) == REFUSE


def test_both_machines_name_the_same_calls_but_for_the_old_ones():
    x86_64, aarch64 = (set(machine.numbers) for machine in MACHINES.values())
    assert aarch64 <= x86_64
    assert x86_64 - aarch64 == {
        "access",
        "epoll_wait",
        "lstat",
        "open",
        "poll",
        "readlink",
        "select",
        "stat",
        "time",
    }


def test_a_machine_without_a_table_is_named(monkeypatch):
    monkeypatch.setattr(syscalls.platform, "machine", lambda: "riscv64")
    with pytest.raises(syscalls.CannotSeal, match="riscv64"):
        syscalls.machine()
