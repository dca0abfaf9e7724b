"""System calls that Python's standard library does not offer, by ctypes; numbers for x86_64 and aarch64."""

from __future__ import annotations

import ctypes
import os
import platform
import signal
from collections.abc import Mapping
from dataclasses import dataclass

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.syscall.restype = ctypes.c_long

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Machine:
    """A processor architecture, as the kernel sees it.

    Attributes:
        audit_arch: what seccomp calls it.
        numbers: of system calls, by name; older calls that the architecture never had are missing.
    """

    audit_arch: int
    numbers: Mapping[str, int]


class CannotSeal(Exception):
    """This kernel or architecture lacks what sealing needs. The text says what."""


def machine() -> Machine:
    """The one this process runs on.

    Raises:
        CannotSeal: it is neither x86_64 nor aarch64, or not Linux.
    """
    name = f"{platform.system()} {platform.machine()}"
    try:
        return _MACHINES[name]
    except KeyError:
        raise CannotSeal(
            f"ETL workers can't be sealed on {name}: Linux on x86_64 or aarch64 is needed"
        ) from None


def _last_error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))


def call(number: int, *arguments: int | ctypes.c_void_p) -> int:
    """Make a system call.

    Raises:
        OSError: it failed.
    """
    prepared = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    result = int(_LIBC.syscall(ctypes.c_long(number), *prepared))
    if result < 0:
        raise _last_error()
    return result


def prctl(option: int, *arguments: int) -> None:
    """Set an attribute of this process.

    Raises:
        OSError: the kernel refuses it.
    """
    given = [*arguments, 0, 0, 0, 0][:4]
    if _LIBC.prctl(ctypes.c_int(option), *(ctypes.c_ulong(each) for each in given)) != 0:
        raise _last_error()


def die_with_the_parent() -> None:
    """Be killed when the parent's thread that started this process ends; a change of user forgets it.

    Raises:
        OSError: the kernel refuses it.
    """
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def keep_capabilities(mask: int) -> None:
    """Give up all capabilities but these, a bit each.

    Raises:
        OSError: one of them was given up before.
    """
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)(
        mask, mask, 0, 0, 0, 0
    )  # effective, permitted, inheritable: lower, then upper half
    if _LIBC.capset(header, sets) != 0:
        raise _last_error()


_CAPABILITY_VERSION_3 = 0x20080522

# Landlock and close_range are younger than the split of the tables: one number everywhere.
CLOSE_RANGE = 436
LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446

_X86_64 = {
    "read": 0, "write": 1, "open": 2, "close": 3, "stat": 4, "fstat": 5, "lstat": 6, "poll": 7, "lseek": 8,
    "mmap": 9, "mprotect": 10, "munmap": 11, "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14,
    "rt_sigreturn": 15, "ioctl": 16, "pread64": 17, "pwrite64": 18, "readv": 19, "writev": 20, "access": 21,
    "select": 23, "sched_yield": 24, "mremap": 25, "madvise": 28, "dup": 32, "nanosleep": 35, "getpid": 39,
    "sendto": 44, "recvfrom": 45, "recvmsg": 47, "clone": 56, "exit": 60, "kill": 62, "uname": 63, "fcntl": 72,
    "getcwd": 79, "readlink": 89, "gettimeofday": 96, "getrlimit": 97, "getrusage": 98, "sysinfo": 99,
    "times": 100, "getuid": 102, "getgid": 104, "geteuid": 107, "getegid": 108, "getppid": 110, "getsid": 124,
    "sigaltstack": 131, "gettid": 186, "time": 201, "futex": 202, "sched_getaffinity": 204, "getdents64": 217,
    "restart_syscall": 219, "clock_gettime": 228, "clock_getres": 229, "clock_nanosleep": 230, "exit_group": 231,
    "epoll_wait": 232, "epoll_ctl": 233, "tgkill": 234, "openat": 257, "newfstatat": 262, "readlinkat": 267, "faccessat": 269, "pselect6": 270,
    "ppoll": 271, "set_robust_list": 273, "epoll_pwait": 281, "eventfd2": 290, "epoll_create1": 291, "prlimit64": 302, "getcpu": 309, "seccomp": 317, "getrandom": 318,
    "membarrier": 324, "statx": 332, "rseq": 334, "clone3": 435, "faccessat2": 439,
}  # fmt: skip

_AARCH64 = {
    "getcwd": 17, "eventfd2": 19, "epoll_create1": 20, "epoll_ctl": 21, "epoll_pwait": 22, "dup": 23, "fcntl": 25, "ioctl": 29, "faccessat": 48, "openat": 56, "close": 57,
    "getdents64": 61, "lseek": 62, "read": 63, "write": 64, "readv": 65, "writev": 66, "pread64": 67,
    "pwrite64": 68, "pselect6": 72, "ppoll": 73, "readlinkat": 78, "newfstatat": 79, "fstat": 80, "exit": 93,
    "exit_group": 94, "futex": 98, "set_robust_list": 99, "nanosleep": 101, "clock_gettime": 113,
    "clock_getres": 114, "clock_nanosleep": 115, "sched_getaffinity": 123, "sched_yield": 124,
    "restart_syscall": 128, "kill": 129, "tgkill": 131, "sigaltstack": 132, "rt_sigaction": 134,
    "rt_sigprocmask": 135, "rt_sigreturn": 139, "times": 153, "getsid": 156, "uname": 160, "getrlimit": 163,
    "getrusage": 165, "getcpu": 168, "gettimeofday": 169, "getpid": 172, "getppid": 173, "getuid": 174,
    "geteuid": 175, "getgid": 176, "getegid": 177, "gettid": 178, "sysinfo": 179, "sendto": 206,
    "recvfrom": 207, "recvmsg": 212, "brk": 214, "munmap": 215, "mremap": 216, "clone": 220, "mmap": 222,
    "mprotect": 226, "madvise": 233, "prlimit64": 261, "seccomp": 277, "getrandom": 278, "membarrier": 283,
    "statx": 291, "rseq": 293, "clone3": 435, "faccessat2": 439,
}  # fmt: skip

_MACHINES = {
    "Linux x86_64": Machine(0xC000003E, _X86_64),
    "Linux aarch64": Machine(0xC00000B7, _AARCH64),
}
