"""The system calls that a sealed worker may make, as a program for the kernel's filter: all others fail with EPERM.

What is allowed is what a computation needs: memory, threads, clocks, reading files (which Landlock narrows), the
descriptors that the worker holds. There is no call that makes a descriptor to anything but a file or the worker's own
events (the runtime inside polars waits for those), none that names another process, none that changes a file by its path.
"""

from __future__ import annotations

import ctypes
import errno
import struct

from featurestore.etl.syscalls import Machine, call, machine

_ANY = (
    "read", "write", "readv", "writev", "pread64", "pwrite64", "lseek", "close", "dup", "open", "openat", "stat",
    "fstat", "lstat", "newfstatat", "statx", "access", "faccessat", "faccessat2", "readlink", "readlinkat",
    "getdents64", "getcwd", "munmap", "mprotect", "mremap", "madvise", "brk", "futex", "set_robust_list", "rseq",
    "membarrier", "sched_yield", "getcpu", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn",
    "sigaltstack", "restart_syscall", "poll", "ppoll", "select", "pselect6", "nanosleep", "clock_nanosleep",
    "clock_gettime", "clock_getres", "gettimeofday", "time", "times", "getrandom", "getpid", "gettid", "getppid",
    "getuid", "geteuid", "getgid", "getegid", "getrlimit", "getrusage", "sysinfo", "uname", "recvfrom",
    "recvmsg", "exit", "exit_group", "eventfd2", "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait",
)  # fmt: skip

_CLONE_THREAD = 0x10000
_MAP_SHARED_ANONYMOUS = 0x01 | 0x20
_FCNTL_COMMANDS = (
    0,
    1,
    2,
    3,
    1030,
)  # F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC: no locks, owners, seals
_IOCTL_COMMANDS = (0x5401, 0x5450, 0x5451)  # TCGETS, which is isatty(); FIONCLEX, FIOCLEX

_LOAD, _EQUAL, _AND, _RETURN = 0x20, 0x15, 0x54, 0x06  # BPF: ld abs, jeq k, and k, ret k
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_REFUSE = 0x00050000
_NUMBER, _ARCH = 0, 4  # offsets into struct seccomp_data
_SET_MODE_FILTER = 1
_FLAG_ALL_THREADS = 1

_Instruction = tuple[int, int, int, int]


def program(pid: int, on: Machine | None = None) -> bytes:
    """The filter for the worker with this pid, which may signal only itself.

    Raises:
        CannotSeal: there is no list of calls for this machine.
    """
    on = on or machine()
    lines: list[_Instruction] = [
        (_LOAD, 0, 0, _ARCH),
        (_EQUAL, 1, 0, on.audit_arch),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    for name in _ANY:
        if name in on.numbers:
            lines += [(_EQUAL, 0, 1, on.numbers[name]), (_RETURN, 0, 0, _ALLOW)]
    for name, check in (
        ("clone", _masked(0, _CLONE_THREAD, allowed=_CLONE_THREAD)),
        ("mmap", _unless_masked(3, _MAP_SHARED_ANONYMOUS)),
        ("fcntl", _one_of(1, _FCNTL_COMMANDS)),
        ("ioctl", _one_of(1, _IOCTL_COMMANDS)),
        ("kill", _one_of(0, (pid,))),
        ("tgkill", _one_of(0, (pid,))),
        ("sendto", _null(4)),
        ("prlimit64", _own_limits(pid)),
        ("sched_getaffinity", _one_of(0, (0, pid))),
        ("getsid", _one_of(0, (0, pid))),
        (
            "clone3",
            [(_RETURN, 0, 0, _REFUSE | errno.ENOSYS)],
        ),  # its flags can't be seen; libc then asks for clone
    ):
        lines += [(_EQUAL, 0, len(check), on.numbers[name]), *check]
    lines.append((_RETURN, 0, 0, _REFUSE | errno.EPERM))
    return b"".join(struct.pack("=HBBI", *line) for line in lines)


def apply(filter_program: bytes) -> None:
    """Hold this process and all its threads to the filter, for ever. No new privileges must be set.

    Raises:
        OSError: the kernel refuses it.
    """

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    text = ctypes.create_string_buffer(filter_program, len(filter_program))
    described = Program(len(filter_program) // 8, ctypes.addressof(text))
    refused = call(
        machine().numbers["seccomp"],
        _SET_MODE_FILTER,
        _FLAG_ALL_THREADS,
        ctypes.c_void_p(ctypes.addressof(described)),
    )
    if refused:
        raise OSError(errno.EBUSY, f"thread {refused} could not be held to the filter")


def _low(argument: int) -> _Instruction:
    """Load the lower half of an argument: both machines are little-endian."""
    return (_LOAD, 0, 0, 16 + 8 * argument)


def _high(argument: int) -> _Instruction:
    return (_LOAD, 0, 0, 20 + 8 * argument)


_END_REFUSED: _Instruction = (_RETURN, 0, 0, _REFUSE | errno.EPERM)
_END_ALLOWED: _Instruction = (_RETURN, 0, 0, _ALLOW)


def _one_of(argument: int, values: tuple[int, ...]) -> list[_Instruction]:
    """For arguments that the kernel takes as 32 bits."""
    count = len(values)
    tests: list[_Instruction] = [
        (_EQUAL, count - position, 0, value) for position, value in enumerate(values)
    ]
    return [_low(argument), *tests, _END_REFUSED, _END_ALLOWED]


def _masked(argument: int, mask: int, *, allowed: int) -> list[_Instruction]:
    return [_low(argument), (_AND, 0, 0, mask), (_EQUAL, 0, 1, allowed), _END_ALLOWED, _END_REFUSED]


def _unless_masked(argument: int, mask: int) -> list[_Instruction]:
    return [_low(argument), (_AND, 0, 0, mask), (_EQUAL, 0, 1, mask), _END_REFUSED, _END_ALLOWED]


def _null(argument: int) -> list[_Instruction]:
    return [_low(argument), (_EQUAL, 0, 3, 0), _high(argument), (_EQUAL, 0, 1, 0), _END_ALLOWED, _END_REFUSED]


def _own_limits(pid: int) -> list[_Instruction]:
    """Looking at one's own limits: those of others are readable for their user, and setting is not for scripts."""
    return [
        _low(0),
        (_EQUAL, 1, 0, 0),
        (_EQUAL, 0, 4, pid),
        _low(2),
        (_EQUAL, 0, 2, 0),
        _high(2),
        (_EQUAL, 1, 0, 0),
        _END_REFUSED,
        _END_ALLOWED,
    ]
