"""Programs that try to break out, and how each must be graded. Data of test_sandbox_attacks.py.

A program that must be contained prints "BROKEN ..." when it got what it wanted, and "contained" when it was refused.
"""

from __future__ import annotations

from dataclasses import dataclass

from burnish.verify.sandbox import Limits

SMALL = Limits(cpu_s=0.3, wall_s=20.0, memory_mb=64, disk_mb=4, files=64, open_files=64, processes=8, output_kb=64)

REFUSED = """
def refused(what, action):
    try:
        got = action()
    except (OSError, ValueError, ImportError, AttributeError) as error:
        return
    if isinstance(got, int) and got < 0:
        return
    print("BROKEN", what, got)
def libc():
    import ctypes
    return ctypes.CDLL(None, use_errno=True)
"""


@dataclass(frozen=True)
class Attack:
    """`statuses`: how it may end. `said`: what standard output is then, None where it does not matter."""

    name: str
    source: str
    statuses: tuple[str, ...] = ("ok",)
    said: str | None = "contained\n"
    limits: Limits = SMALL
    own_processes: bool = False  # only judged where programs have their own process numbers


def refusing(name: str, body: str, **other: object) -> Attack:
    return Attack(name, REFUSED + body + "\nprint('contained')", **other)  # type: ignore[arg-type]


SECRETS = refusing(
    "read secrets",
    """
import os, sys
def look(path):
    # the folders on the way to the interpreter are there, with nothing else in them
    if not os.path.isdir(path):
        return open(path, "rb").read(10)
    way = (sys.executable, os.__file__)
    return [name for name in os.listdir(path) if not any(w.startswith(os.path.join(path, name)) for w in way)] or -1
for path in ("/etc/passwd", "/etc/shadow", "/root", "/home", "/var", "/sys/kernel", "/etc/hostname", "/run", "/work",
             "~/.ssh", "~/.netrc", "~/.cache", "/etc/resolv.conf", "/dev/sda", "/dev/vda", "/dev/mem", "/dev/kmsg"):
    path = os.path.expanduser(path)
    refused(path, lambda: look(path))
for folder, _, names in os.walk("/tmp"):
    for name in names:
        refused(folder + name, lambda: open(os.path.join(folder, name)).read())
""",
)

ATTACKS = (
    # --- processes
    Attack(
        "fork bomb",
        "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass",
        ("timeout",),
        None,
    ),
    Attack(
        "fork bomb that sleeps",
        "import os, time\nn = 0\ntry:\n    while os.fork():\n        n += 1\n    time.sleep(60)\nexcept OSError:\n    print(n < 20)",
        said="True\n",
    ),
    Attack(
        "threads without end",
        "import threading, time\ntry:\n    for n in range(1000):\n        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
        "except RuntimeError:\n    print('contained')",
    ),
    Attack(
        "daemon that outlives",
        "import os, time\nif os.fork() == 0:\n    try:\n        os.setsid()\n    except OSError:\n        pass\n"
        "    if os.fork() == 0:\n        [os.close(n) for n in (0, 1, 2)]\n        time.sleep(600)\n    os._exit(0)\nos.wait()\nprint('contained')",
    ),
    Attack(
        "kill the parent",
        "import os\nos.kill(os.getppid(), 9)\nprint('contained')",
        ("ok", "error"),
        None,
        own_processes=True,
    ),
    Attack(
        "kill everything",
        "import os, signal\nfor n in range(1, 65):\n    for pid in (os.getppid(), 1):\n        try:\n            if n not in (32, 33): os.kill(pid, n)\n        except OSError:\n            pass\nprint('contained')",
    ),
    Attack(
        "kill all with -1", "import os\nos.kill(-1, 9)\nprint('contained')", ("ok", "error"), None, own_processes=True
    ),
    Attack("kill itself", "import os\nos.kill(os.getpid(), 9)", ("error",), ""),
    Attack(
        "stop itself",
        "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
        ("timeout",),
        "",
        Limits(cpu_s=1, wall_s=0.5),
    ),
    # --- time
    Attack("endless loop", "while True: pass", ("timeout",), ""),
    Attack("sleep", "import time\ntime.sleep(600)", ("timeout",), "", Limits(cpu_s=1, wall_s=0.5)),
    Attack(
        "ignore every signal",
        "import signal\nfor n in range(1, 65):\n    try:\n        signal.signal(n, signal.SIG_IGN)\n    except (OSError, ValueError):\n        pass\nwhile True: pass",
        ("timeout",),
        "",
    ),
    Attack(
        "catch every exception",
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
        ("timeout",),
        "",
    ),
    Attack("hang in native code", "pow(3, 10 ** 9)", ("timeout", "memory"), ""),
    Attack("hang in a regular expression", "import re\nre.match(r'(a+)+$', 'a' * 64 + 'b')", ("timeout",), ""),
    Attack(
        "hang in atexit",
        "import atexit, time\natexit.register(time.sleep, 600)",
        ("timeout",),
        "",
        Limits(cpu_s=1, wall_s=0.5),
    ),
    Attack(
        "burn in many processes",
        "import os\nfor _ in range(3): os.fork()\nwhile True: pass",
        ("timeout",),
        "",
    ),
    # --- memory
    Attack("memory bomb", "a = []\nwhile True: a.append(bytearray(1 << 20))", ("memory",), ""),
    Attack("one huge allocation", "a = bytearray(1 << 34)", ("memory",), ""),
    Attack("huge integer", "print(len(str(1 << (1 << 33))))", ("memory", "error"), ""),
    Attack(
        "memory bomb in many processes",
        "import os, time\nfor _ in range(2): os.fork()\na = b'x' * (40 << 20)\ntime.sleep(60)",
        ("memory",),
        "",
        Limits(cpu_s=5, wall_s=20, memory_mb=64, processes=8),
    ),
    Attack(
        "anonymous memory files",
        REFUSED + "import os\nrefused('memfd', lambda: os.memfd_create('x'))\nprint('contained')",
    ),
    Attack("deep recursion", "def f(n): return f(n + 1)\nf(0)", ("error",), ""),
    Attack(
        "deep recursion without a limit",
        "import sys\nsys.setrecursionlimit(1 << 30)\nclass A:\n    def __getattr__(self, name): return getattr(self, name + 'x')\nA().x",
        ("error", "memory", "timeout"),
        "",
    ),
    Attack("deep source", "(" * 100_000 + ")" * 100_000, ("error", "memory", "output"), ""),
    Attack("huge source", "x = 1\n" * 200_000 + "print('contained')", ("ok", "memory", "timeout"), None),
    # --- disk
    Attack(
        "fill the disk",
        "try:\n    with open('a', 'wb') as f:\n        while True: f.write(bytes(1 << 20))\nexcept OSError:\n    print('contained')",
        ("ok", "error"),
        None,
    ),
    Attack(
        "fill the disk with many files",
        "import os\nn = 0\ntry:\n    while n < 64:\n        with open(f'{n}', 'wb') as f: f.write(bytes(1 << 19))\n        n += 1\nexcept OSError:\n    print('contained')\n"
        "import time\ntime.sleep(1)",
        ("ok", "error"),
        None,
    ),
    Attack(
        "many files",
        "n = 0\ntry:\n    while n < 10_000:\n        open(f'{n}', 'w').close()\n        n += 1\nexcept OSError:\n    print('contained')\n",
        ("ok", "error"),
        None,
    ),
    Attack(
        "open files without end",
        "a = []\ntry:\n    while True: a.append(open('/dev/null'))\nexcept OSError:\n    print('contained')",
    ),
    # --- output
    Attack("print flood", "while True: print('x' * 1000)", ("output",), None),
    Attack("error flood", "import sys\nwhile True: sys.stderr.write('x' * 1000)", ("output",), ""),
    Attack("flood from a child", "import os\nos.fork()\nwhile True: os.write(1, b'x' * 65536)", ("output",), None),
    Attack("close standard output", "import os\nos.close(1)\nos.close(2)\nos.close(0)", ("ok", "error"), ""),
    Attack("null bytes in the output", "print('a\\0b')", said="a\0b\n"),
    # --- ending early: "ok" says no more than the exit code; the output shows that the work was not done
    Attack("exit early", "import sys\nsys.exit(0)\nprint('passed')", said=""),
    Attack("exit hard", "import os\nprint('half', flush=True)\nos._exit(0)\nprint('passed')", said="half\n"),
    Attack("exit with text", "raise SystemExit('no')", ("error",), ""),
    Attack("exit in a hook", "import sys, os\nsys.excepthook = lambda *a: os._exit(0)\n1 / 0", ("ok",), ""),
    Attack("abort", "import os\nos.abort()", ("error",), ""),
    Attack("crash in native code", "import ctypes\nctypes.string_at(0)", ("error",), ""),
    # --- files of the machine
    SECRETS,
    refusing(
        "links out of the folder",
        """
import os
os.symlink("/etc/passwd", "link")
refused("symlink", lambda: open("link").read())
os.symlink("/", "root")
refused("symlinked root", lambda: open("root/etc/passwd").read())
refused("hard link", lambda: os.link("/etc/passwd", "hard"))
refused("dots", lambda: open("../../../../../../../../etc/passwd").read())
os.symlink("loop", "loop")
refused("loop", lambda: open("loop").read())
""",
    ),
    refusing(
        "/proc",
        """
import os
for path in ("/proc/1/environ", "/proc/1/root/etc/passwd", "/proc/self/root/etc/passwd", "/proc/1/cwd/x", "/proc/sysrq-trigger",
             "/proc/self/mem", "/proc/1/mem", "/proc/kcore", "/proc/self/environ", "/proc/sys/kernel/core_pattern"):
    refused(path, lambda: open(path, "rb").read(1))
refused("write core_pattern", lambda: open("/proc/sys/kernel/core_pattern", "w"))
refused("write sysrq", lambda: open("/proc/sysrq-trigger", "w"))
refused("list", lambda: [n for n in os.listdir("/proc") if n.isdigit()] or -1)
""",
    ),
    refusing(
        "write outside",
        """
import os, sys
for folder in ("/", "/usr", "/usr/lib", "/etc", "/dev", "/var/tmp", "/proc", os.path.dirname(os.__file__), os.path.dirname(sys.executable)):
    refused(folder, lambda: open(folder + "/burnish-broken", "w"))
refused("interpreter", lambda: open(sys.executable, "r+b"))
refused("standard library", lambda: open(os.__file__, "a"))
refused("replace", lambda: os.rename(os.__file__, os.__file__ + "x"))
refused("remove", lambda: os.unlink(os.__file__))
refused("chmod", lambda: os.chmod(os.__file__, 0o777))
""",
    ),
    refusing(
        "environment",
        """
import os
for name, value in os.environ.items():
    if "SECRET" in name or "TOKEN" in name or "KEY" in name or "hidden-from-programs" in value: print("BROKEN", name)
""",
    ),
    refusing(
        "inherited descriptors",
        """
import os
for n in range(3, 4096):
    refused(n, lambda: os.fstat(n) and n)
""",
    ),
    # --- network
    refusing(
        "every socket family",
        """
import socket
for family in range(0, 46):
    for kind in (1, 2, 3, 5):
        refused((family, kind), lambda: socket.socket(family, kind))
for family in range(0, 46):
    if family != socket.AF_UNIX:
        refused(("pair", family), lambda: socket.socketpair(family))
for kind in (socket.SOCK_DGRAM, socket.SOCK_RAW): refused("datagram pair", lambda: socket.socketpair(socket.AF_UNIX, kind))
refused("address", lambda: socket.create_connection(("1.1.1.1", 80), 1))
refused("server", lambda: socket.create_server(("127.0.0.1", 0)))
refused("name", lambda: socket.getaddrinfo("example.org", 80))
a, b = socket.socketpair()
refused("connect a pair", lambda: a.connect("/run/x"))
refused("send to an address", lambda: a.sendto(b"x", "/dev/log"))
refused("bind a pair", lambda: a.bind("\\0abstract"))
""",
    ),
    refusing(
        "socket by number",
        """
import platform
l = libc()
number = {"x86_64": 41, "aarch64": 198}[platform.machine()]
for family in (1, 2, 10, 16, 17, 38, 40, 44): refused(("syscall", family), lambda: l.syscall(number, family, 2, 0))
if platform.machine() == "x86_64" and __import__("os").fork() == 0:
    refused("x32", lambda: l.syscall(0x40000000 | 41, 2, 1, 0))
    __import__("os")._exit(0)
""",
    ),
    # --- the kernel
    refusing(
        "namespaces, mounts, chroot",
        """
import os
l = libc()
for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
    refused(("unshare", flag), lambda: l.unshare(flag))
    refused(("clone", flag), lambda: l.syscall({"x86_64": 56}.get(os.uname().machine, 220), flag | 17, 0, 0, 0, 0))
refused("setns", lambda: l.setns(0, 0))
refused("mount", lambda: l.mount(b"tmpfs", b"/tmp", b"tmpfs", 0, b""))
refused("remount", lambda: l.mount(b"none", b"/", b"", 4096 | 32, b""))
refused("umount", lambda: l.umount2(b"/proc", 2))
refused("chroot", lambda: os.chroot("."))
refused("pivot_root", lambda: l.syscall({"x86_64": 155}.get(os.uname().machine, 41), b".", b"."))
refused("mknod", lambda: os.mknod("disk", 0o60600, os.makedev(254, 0)))
refused("open_by_handle_at", lambda: l.open_by_handle_at(0, b"x" * 64, 0))
""",
    ),
    refusing(
        "become somebody else",
        """
import os
for action in (lambda: os.setuid(0), lambda: os.setgid(0), lambda: os.setresuid(0, 0, 0), lambda: os.setgroups([0]), lambda: os.setreuid(0, 0)):
    refused("setuid", action)
    if os.getuid() == 0 or os.geteuid() == 0 or 0 in os.getgroups(): print("BROKEN root")
with open("s", "w") as f: f.write("x")
os.chmod("s", 0o6777)
l = libc()
refused("keep capabilities", lambda: l.capset(b"\\x22\\x05\\x08\\x20\\0\\0\\0\\0", b"\\xff" * 24))
""",
    ),
    refusing(
        "trace and read others",
        """
import os
l = libc()
l.ptrace.restype = __import__("ctypes").c_long
for pid in (os.getppid(), 1, 2):
    refused(("attach", pid), lambda: l.ptrace(16, pid, 0, 0))
    refused(("seize", pid), lambda: l.ptrace(0x4206, pid, 0, 0))
    refused(("read", pid), lambda: l.process_vm_readv(pid, b"\\0" * 16, 1, b"\\0" * 16, 1, 0))
    refused(("getfd", pid), lambda: l.syscall(438, os.pidfd_open(pid), 0, 0))
refused("traceme", lambda: l.ptrace(0, 0, 0, 0))
""",
    ),
    refusing(
        "keys, bpf, io_uring and the rest",
        """
import os
x86 = os.uname().machine == "x86_64"
calls = {
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219), "bpf": (321, 280), "perf": (298, 241),
    "io_uring_setup": (425, 425), "userfaultfd": (323, 282), "init_module": (175, 105), "kexec_load": (246, 104),
    "reboot": (169, 142), "swapon": (167, 224), "acct": (163, 89), "syslog": (103, 116), "settimeofday": (164, 170),
    "sethostname": (170, 161), "personality": (135, 92), "fanotify_init": (300, 262), "shmget": (29, 194), "msgget": (68, 186),
    "semget": (64, 190), "mq_open": (240, 180), "quotactl": (179, 60), "open_tree": (428, 428), "fsopen": (430, 430),
    "newer than the filter": (499, 499),
}
l = libc()
for name, numbers in calls.items(): refused(name, lambda: l.syscall(numbers[0 if x86 else 1], 0, 0, 0, 0, 0))
""",
    ),
    refusing(
        "raise its limits",
        """
import resource
for what in (resource.RLIMIT_AS, resource.RLIMIT_NPROC, resource.RLIMIT_CPU, resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE):
    soft, hard = resource.getrlimit(what)
    refused(what, lambda: resource.setrlimit(what, (hard + 1, hard + 1)) or 1)
    refused(what, lambda: resource.setrlimit(what, (-1, -1)) or 1)
""",
    ),
    refusing(
        "reach the worker through Python",
        """
import gc, sys, os, threading
if any("burnish" in name for name in sys.modules): print("BROKEN modules")
frame = sys._getframe()
while frame.f_back: frame = frame.f_back
for thing in gc.get_objects():
    if type(thing).__name__ == "socket" and thing.fileno() >= 0:
        refused("the worker's socket", lambda: thing.send(b"x"))
""",
    ),
    Attack("source with a null byte", "print('a')\0print('b')", ("error",), ""),
    Attack("source that is no text", "print('\ud800')", ("error",), ""),
    Attack("source that does not parse", "def (:", ("error",), ""),
    Attack("lower its own file mode", "import os\nos.umask(0o777)\nos.chmod('.', 0)\nprint('contained')"),
)
