"""The seccomp filter: which system calls a contained program may make. A BPF program assembled by hand, no library.

Calls that a Python program needs are far more than those that could do harm, and a missing one is a wrong verdict. So the
filter lists what is refused: with EPERM, which a program sees as PermissionError. Calls newer than the list do not exist
for the program (ENOSYS), nor does another calling convention of the same processor (the process is killed).
Refused are: every socket but a pair of connected ones, new namespaces and mounts, tracing and the memory of others, keys,
BPF, performance counters, io_uring, System V and POSIX queues and memory files (which no limit counts), and whatever
administers a machine.
"""

from __future__ import annotations

import struct

_ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_NEWEST = 456  # of Linux 6.7; every machine has the same numbers from 424 on
_KILL, _ALLOW, _EPERM, _ENOSYS = 0x80000000, 0x7FFF0000, 0x00050001, 0x00050026
_LOAD, _AND, _JUMP_EQUAL, _JUMP_ABOVE, _JUMP_ANY, _RETURN = 0x20, 0x54, 0x15, 0x25, 0x45, 0x06
_NEW_NAMESPACES = 0x7E020080
_AF_UNIX, _STREAM, _PACKETS = 1, 1, 5
_FIRST, _SECOND = 16, 24  # where the low half of an argument lies

# name: (x86-64, arm64); None where the machine has no such call
REFUSED: dict[str, tuple[int | None, int | None]] = {
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201), "accept": (43, 202),
    "accept4": (288, 242), "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "kcmp": (312, 272), "pidfd_getfd": (438, 438), "process_madvise": (440, 440), "process_mrelease": (448, 448),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "unshare": (272, 97),
    "setns": (308, 268), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "keyctl": (250, 219), "add_key": (248, 217),
    "request_key": (249, 218), "bpf": (321, 280), "perf_event_open": (298, 241), "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "io_setup": (206, 0), "userfaultfd": (323, 282),
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194), "shmat": (30, 196),
    "shmctl": (31, 195), "semget": (64, 190), "semop": (65, 193), "semctl": (66, 191), "semtimedop": (220, 192),
    "msgget": (68, 186), "msgsnd": (69, 189), "msgrcv": (70, 188), "msgctl": (71, 187), "mq_open": (240, 180),
    "mq_unlink": (241, 181), "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "reboot": (169, 142), "swapon": (167, 224),
    "swapoff": (168, 225), "acct": (163, 89), "quotactl": (179, 60), "quotactl_fd": (443, 443), "syslog": (103, 116),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "clock_adjtime": (305, 266), "adjtimex": (159, 171),
    "sethostname": (170, 161), "setdomainname": (171, 162), "iopl": (172, None), "ioperm": (173, None),
    "modify_ldt": (154, None), "uselib": (134, None), "ustat": (136, None), "sysfs": (139, None),
    "_sysctl": (156, None), "nfsservctl": (180, 42), "vhangup": (153, 58), "personality": (135, 92),
    "lookup_dcookie": (212, 18), "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262), "fanotify_mark": (301, 263), "inotify_init1": (294, 26), "inotify_init": (253, None),
    "mbind": (237, 235), "migrate_pages": (256, 238), "move_pages": (279, 239), "vmsplice": (278, 75),
    "pkey_alloc": (330, 289), "seccomp": (317, 277), "mknod": (133, None), "mknodat": (259, 33),
    "cachestat": (451, 451), "setpriority": (141, 140), "ioprio_set": (251, 30),
    "sched_setscheduler": (144, 119), "sched_setattr": (314, 274),
}  # fmt: skip
_SOCKETPAIR, _CLONE, _CLONE3, _IOCTL = (53, 199), (56, 220), (435, 435), (16, 29)
_TREE = {"setsid": (112, 157), "setpgid": (109, 154)}


def _op(code: int, yes: int, no: int, value: int) -> bytes:
    return struct.pack("<HBBI", code, yes, no, value)


def program(machine: str, one_group: bool = False) -> bytes:
    """The filter for a machine. one_group: a process may not leave its process group, so that killing it ends all."""
    column = list(_ARCHITECTURE).index(machine)
    refused = REFUSED | (_TREE if one_group else {})
    ops = [
        _op(_LOAD, 0, 0, 4),
        _op(_JUMP_EQUAL, 1, 0, _ARCHITECTURE[machine]),
        _op(_RETURN, 0, 0, _KILL),
        _op(_LOAD, 0, 0, 0),
    ]
    if machine == "x86_64":
        ops += [_op(_JUMP_ABOVE, 0, 1, 0x3FFFFFFF), _op(_RETURN, 0, 0, _KILL)]
    ops += [_op(_JUMP_ABOVE, 0, 1, _NEWEST), _op(_RETURN, 0, 0, _ENOSYS)]
    for numbers in refused.values():
        number = numbers[column]
        if number is not None:
            ops += [_op(_JUMP_EQUAL, 0, 1, number), _op(_RETURN, 0, 0, _EPERM)]
    ops += [_op(_JUMP_EQUAL, 0, 1, _CLONE3[column]), _op(_RETURN, 0, 0, _ENOSYS)]
    ops += _argument(_CLONE[column], _FIRST, (_JUMP_ANY, 0, 1, _NEW_NAMESPACES))
    ops += _pairs(_SOCKETPAIR[column])
    ops += _argument(_IOCTL[column], _SECOND, (_JUMP_EQUAL, 0, 1, 0x5412))  # TIOCSTI: typing into a terminal
    ops += [_op(_RETURN, 0, 0, _ALLOW)]
    return b"".join(ops)


def _argument(number: int, offset: int, test: tuple[int, int, int, int]) -> list[bytes]:
    """Refuse a call by one of its arguments: where `test` jumps 0 the call is refused, where it jumps 1 it is allowed."""
    return [
        _op(_JUMP_EQUAL, 0, 4, number),
        _op(_LOAD, 0, 0, offset),
        _op(*test),
        _op(_RETURN, 0, 0, _EPERM),
        _op(_RETURN, 0, 0, _ALLOW),
    ]


def _pairs(number: int) -> list[bytes]:
    """Allow socketpair for connected local pairs; a datagram pair could still send to any local address."""
    return [
        _op(_JUMP_EQUAL, 0, 8, number),
        _op(_LOAD, 0, 0, _FIRST),
        _op(_JUMP_EQUAL, 0, 4, _AF_UNIX),
        _op(_LOAD, 0, 0, _SECOND),
        _op(_AND, 0, 0, 0xF),
        _op(_JUMP_EQUAL, 2, 0, _STREAM),
        _op(_JUMP_EQUAL, 1, 0, _PACKETS),
        _op(_RETURN, 0, 0, _EPERM),
        _op(_RETURN, 0, 0, _ALLOW),
    ]
