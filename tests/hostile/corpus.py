"""Scripts that try what no script may. Each is the body of an `extract()`; where it got what it wanted it calls `got(what)`.

`got` is how success is told: it raises, and its exception's name reaches the caller, from a sealed worker and from a
plain one. Whatever else happens is a refusal.
"""

import textwrap
from dataclasses import dataclass

HEADER = """
import ctypes, ctypes.util, json, mmap, os, resource, signal, socket, struct, subprocess, sys, tempfile, threading, time
import numpy as np, pandas as pd, pyarrow as pa
from featurestore.etl import AbstractEtl

class ItSucceeded(BaseException): pass

def got(what=True):
    if what is None or what is False: return
    raise ItSucceeded(str(what)[:100])

libc = ctypes.CDLL(None, use_errno=True)

def call(x86_64, aarch64, *arguments):
    number = x86_64 if os.uname().machine == "x86_64" else aarch64
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
    if result < 0:
        error = ctypes.get_errno()
        if error in (1, 13): raise PermissionError(error, "refused")
        raise OSError(error, "looked into")
    return result

def reached(act, *arguments):
    # The kernel looked into it, whatever it said: only a refusal counts as one.
    try: act(*arguments)
    except PermissionError: raise
    except OSError: pass
    got("reached the kernel")

class Etl(AbstractEtl):
    def extract(self):
"""


@dataclass(frozen=True)
class Attack:
    """One script.

    Attributes:
        control: whether it can be tried in a plain worker without harm to those beside it.
    """

    family: str
    name: str
    body: str
    control: bool = True

    @property
    def source(self) -> str:
        return (
            HEADER
            + textwrap.indent(textwrap.dedent(self.body).strip(), " " * 8)
            + "\n        return self.df\n"
        )


def _family(family, attacks, *, control=True):
    return [Attack(family, name, body, control) for name, body in attacks.items()]


def tried_together(attacks):
    """One script that tries all of these in turn and returns the names of those that succeeded."""
    lines = [f"    def attack_{number}(self):\n{_indented(each)}" for number, each in enumerate(attacks)]
    names = [each.name for each in attacks]
    lines.append(
        "    def extract(self):\n"
        "        done = []\n"
        f"        for number, name in enumerate({names!r}):\n"
        "            try: getattr(self, f'attack_{number}')()\n"
        "            except ItSucceeded: done.append(name)\n"
        "            except BaseException: pass\n"
        "        return pd.DataFrame({'done': pd.Series(done, dtype='str')})\n"
    )
    return HEADER.replace("    def extract(self):\n", "") + "\n".join(lines)


def _indented(attack):
    return textwrap.indent(textwrap.dedent(attack.body).strip(), " " * 8) + "\n        return self.df\n"


FILES = _family(
    "files",
    {
        "reads the users": "got(open('/etc/passwd').read())",
        "reads the resolver's settings": "got(os.open('/etc/hostname', os.O_RDONLY))",
        "lists the root": "got(os.listdir('/'))",
        "lists the temporary folder": "got(os.listdir('/tmp') or 'nothing')",
        "writes a temporary file": "file = tempfile.NamedTemporaryFile(dir='/tmp'); file.write(b'x'); got('written')",
        "writes an unnamed file": "got(os.open('/tmp', os.O_TMPFILE | os.O_RDWR))",
        "writes into shared memory": "got(os.open('/dev/shm', os.O_TMPFILE | os.O_RDWR))",
        "reads its own memory map": "got(open('/proc/self/maps').read())",
        "writes its own memory": "got(open('/proc/self/mem', 'r+b').fileno())",
        "reads its parent's environment": "got(open(f'/proc/{os.getppid()}/stat').read())",
        "reads what processes there are": "got([p for p in os.listdir('/proc') if p.isdigit()])",
        "reads a device": "got(open('/dev/urandom', 'rb').read(8))",
        "opens the zero device": "got(os.open('/dev/zero', os.O_RDWR))",
        "opens a terminal": "got(os.openpty())",
        "reads the kernel's version": "got(open('/proc/version').read())",
        "reads the system's hardware": "got(os.listdir('/sys'))",
        "makes a folder": "path = f'/tmp/hostile-{os.getpid()}'; os.mkdir(path); os.rmdir(path); got('made')",
        "makes a link": "path = f'/tmp/hostile-{os.getpid()}'; os.symlink('/etc', path); os.unlink(path); got('made')",
        "makes a pipe on disk": "path = f'/tmp/hostile-{os.getpid()}'; os.mkfifo(path); os.unlink(path); got('made')",
        "removes a file": "reached(os.unlink, '/tmp/no-such-file-here')",
        "renames a file": "reached(os.rename, '/tmp/no-such-file-here', '/tmp/nor-here')",
        "changes a mode": "reached(os.chmod, '/tmp/no-such-file-here', 0o777)",
        "changes an owner": "reached(os.chown, '/tmp/no-such-file-here', 1, 1)",
        "changes a time": "reached(os.utime, '/tmp/no-such-file-here')",
        "truncates a file": "reached(os.truncate, '/tmp/no-such-file-here', 0)",
        "goes elsewhere": "os.chdir('/tmp'); got('there')",
        "watches files": "call(294, 26, 0); got('watching')",
        "reads a file with pandas": "got(len(pd.read_csv('/etc/passwd', sep=':')))",
        "reads a file with pyarrow": "got(pa.OSFile('/etc/passwd').read())",
        "maps a file with numpy": "got(np.memmap('/etc/passwd', mode='r').size)",
    },
)

NETWORK = _family(
    "network",
    {
        **{
            f"opens a {name} socket": f"socket.socket({family}, {kind}); got('open')"
            for name, family, kind in (
                ("TCP", "socket.AF_INET", "socket.SOCK_STREAM"),
                ("UDP", "socket.AF_INET", "socket.SOCK_DGRAM"),
                ("UNIX stream", "socket.AF_UNIX", "socket.SOCK_STREAM"),
                ("UNIX datagram", "socket.AF_UNIX", "socket.SOCK_DGRAM"),
                ("netlink", "16", "socket.SOCK_RAW"),
            )
        },
        "opens a pair of sockets": "got(socket.socketpair())",
        "listens": "s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(); got('listening')",
        "opens a socket without Python": "call(41, 198, 2, 1, 0); got('open')",
        "asks for the kernel's keyring socket": "reached(call, 41, 198, 38, 5, 0)",
        "opens an IPv6 socket": "reached(socket.socket, socket.AF_INET6, socket.SOCK_STREAM)",
        "opens an MPTCP socket": "reached(socket.socket, socket.AF_INET, socket.SOCK_STREAM, 262)",
        "opens a vsock": "reached(socket.socket, 40, socket.SOCK_STREAM)",
        "resolves a name": "reached(socket.socket, socket.AF_INET, socket.SOCK_DGRAM)",
        "fetches a page": "import urllib.request\ntry: urllib.request.urlopen('http://127.0.0.1:9', timeout=1)\n"
        "except OSError as error:\n    if 'not permitted' in str(error): raise PermissionError\n    got('reached the network')",
    },
)

PROCESSES = _family(
    "processes",
    {
        "forks": "pid = os.fork()\nif pid == 0: os._exit(0)\nos.waitpid(pid, 0); got('forked')",
        "forks without Python": "pid = call(56, 220, 17, 0, 0, 0, 0)\nif pid == 0: os._exit(0)\ngot('forked')",
        "clones by the newest call": "about = (ctypes.c_uint64 * 8)(0, 0, 0, 0, 17)\n"
        "pid = call(435, 435, ctypes.byref(about), 64)\nif pid == 0: os._exit(0)\ngot('forked')",
        "runs a shell": "got(os.system('true') == 0)",
        "runs a program": "got(subprocess.run(['/bin/true']))",
        "becomes a program": "reached(os.execv, '/no/such/program', ['x'])",
        "starts a process pool": "import multiprocessing\np = multiprocessing.get_context('fork').Process(target=int); p.start(); p.join(); got('ran')",
        "opens a pipe": "got(os.pipe())",
        "signals its parent": "os.kill(os.getppid(), 0); got('signalled')",
        "signals everybody": "reached(os.kill, -1, 0)",
        "signals a group": "reached(os.killpg, os.getpgid(0), 0)",
        "gets hold of its parent": "got(os.pidfd_open(os.getppid()))",
        "reads its parent's memory": "reached(call, 310, 270, os.getppid(), 0, 0, 0, 0, 0)",
        "becomes a leader": "reached(os.setpgid, 0, 0)",
        "changes its priority": "os.nice(1); got('changed')",
        "chooses its processor": "os.sched_setaffinity(0, os.sched_getaffinity(0)); got('chosen')",
        "asks where its parent runs": "got(os.sched_getaffinity(os.getppid()))",
        "asks for its parent's session": "got(os.getsid(os.getppid()))",
        "limits its parent": "resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE); got('seen')",
        "raises its limits": "resource.setrlimit(resource.RLIMIT_CORE, resource.getrlimit(resource.RLIMIT_CORE)); got('set')",
        "outlives its service": "got(libc.prctl(1, 0, 0, 0, 0) == 0)",
    },
)

KERNEL = _family(
    "kernel",
    {
        "sets up an io_uring": "reached(call, 425, 425, 1, 0)",
        "loads a program into the kernel": "reached(call, 321, 280, 5, 0, 0)",
        "makes a user namespace": "reached(call, 272, 97, 0x10000000)",
        "enters a namespace": "reached(call, 308, 268, 999, 0)",
        "mounts": "reached(call, 165, 40, 0, 0, 0, 0, 0)",
        "changes its root": "reached(os.chroot, '/no/such/folder')",
        "handles page faults": "reached(call, 323, 282, 0x800)",
        "counts events": "reached(call, 298, 241, 0, 0, -1, -1, 0)",
        "reads the keys": "reached(call, 250, 219, 0, -3, 0)",
        "takes signals as events": "reached(call, 289, 74, -1, 0, 99, 0)",
        "makes a timer": "reached(call, 283, 85, 99)",
        "watches a file system": "reached(call, 300, 262, 99, 0)",
        "makes a memory file": "got(os.memfd_create('x'))",
        "makes a secret memory file": "reached(call, 447, 447, 99)",
        "makes shared memory": "reached(call, 29, 194, 0, 4096, 0o600)",
        "shares memory anonymously": "got(mmap.mmap(-1, 4096))",
        "opens by handle": "reached(call, 304, 265, -1, 0, 0)",
        "becomes root": "reached(os.setuid, os.getuid())",
        "sets the clock": "reached(call, 227, 112, 99, 0)",
        "sets the host's name": "reached(call, 170, 161, 0, -1)",
        "filters itself anew": "reached(call, 317, 277, 99, 0, 0)",
        "locks memory": "reached(call, 149, 228, 0, 0)",
        "asks for a terminal's input": "import fcntl\nreached(fcntl.ioctl, 0, 0x5412, b'x')",
        "takes a signal for its wire": "import fcntl\nreached(fcntl.fcntl, 0, fcntl.F_SETOWN, os.getpid())",
    },
)

ALONE = _family("processes", {"traces itself": "got(libc.ptrace(0, 0, 0, 0) == 0)"}, control=False)

ATTACKS = [*ALONE, *FILES, *NETWORK, *PROCESSES, *KERNEL]


@dataclass(frozen=True)
class Excess:
    """A script that takes too much, or breaks its process.

    Attributes:
        reason: how it must end.
    """

    name: str
    body: str
    reason: str

    @property
    def source(self) -> str:
        return HEADER + _indented(self)


EXCESSES = [
    Excess("a huge array", "x = np.ones(600_000_000)", "ETL_MEMORY"),
    Excess("a growing text", "x = bytearray()\nwhile True: x += bytes(2**22)", "ETL_MEMORY"),
    Excess("a list without end", "x = []\nwhile True: x.append(bytes(2**20))", "ETL_MEMORY"),
    Excess("a huge Arrow buffer", "x = pa.allocate_buffer(5 * 2**30)", "ETL_MEMORY"),
    Excess(
        "a huge private mapping",
        "x = mmap.mmap(-1, 2**33, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)",
        "ETL_EXCEPTION",
    ),
    Excess(
        "threads without end",
        "while True: threading.Thread(target=time.sleep, args=(60,)).start()",
        "ETL_EXCEPTION",
    ),
    Excess("files without end", "held = []\nwhile True: held.append(os.dup(1))", "ETL_EXCEPTION"),
    Excess("a loop without end", "while True: pass", "ETL_TIMEOUT"),
    Excess("a sleep", "time.sleep(3600)", "ETL_TIMEOUT"),
    Excess("a loop in C", "sum(range(10**12))", "ETL_TIMEOUT"),
    Excess("a regular expression", "import re; re.match('(a+)+$', 'a' * 60 + 'b')", "ETL_TIMEOUT"),
    Excess("a lock", "lock = threading.Lock(); lock.acquire(); lock.acquire()", "ETL_TIMEOUT"),
    Excess(
        "deaf to signals",
        "for n in range(1, 32):\n    try: signal.signal(n, signal.SIG_IGN)\n    except OSError: pass\nwhile True: pass",
        "ETL_TIMEOUT",
    ),
    Excess("an exit", "os._exit(0)", "ETL_CRASH"),
    Excess("a wild pointer", "ctypes.string_at(0)", "ETL_CRASH"),
    Excess("an abort", "os.abort()", "ETL_CRASH"),
    Excess("its wire closed", "os.close(3); time.sleep(60)", "ETL_CRASH"),
    Excess("a large result", "return pd.DataFrame({'x': np.zeros(3_000_000)})", "ETL_OUTPUT"),
    Excess("a file too large", "[os.write(5, bytes(2**20)) for _ in range(200)]", "ETL_BAD_RESULT"),
]
