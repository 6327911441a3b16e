"""The seccomp policy, as data: which system calls an instance may make, and why.

Stops: every system call that is not listed, among them socket, connect, bind, fork, execve, kill;
executable memory that was written; passing descriptors. Does not stop: kernel bugs in what is
listed. Unlisted calls fail with EPERM, as libraries probe; what no honest program calls kills the
process.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_INT: Final = 0xFFFFFFFF
"""Mask of an argument that the kernel takes as a C int: it ignores the upper half."""
_ALL: Final = 0xFFFFFFFFFFFFFFFF


@dataclass(frozen=True, slots=True)
class Argument:
    """A test on one argument: (argument & mask) is one of the values."""

    index: int
    values: tuple[int, ...]
    mask: int = _ALL


@dataclass(frozen=True, slots=True)
class Group:
    """System calls treated alike, and the reason. All argument tests must hold."""

    reason: str
    names: str
    arguments: tuple[Argument, ...] = ()


@dataclass(frozen=True, slots=True)
class Policy:
    """What happens to each system call; the first list that names it decides."""

    kill: tuple[Group, ...]
    missing: tuple[Group, ...]
    """Answered with ENOSYS, so that the C library falls back on an older call."""
    pretended: tuple[Group, ...]
    """Answered with success and not done."""
    allow: tuple[Group, ...]


KILL: Final = (
    Group("inspect or change other processes",
          "ptrace process_vm_readv process_vm_writev process_madvise kcmp pidfd_getfd"),
    Group("kernel interfaces with a history, or that bypass seccomp",
          "bpf perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register"),
    Group("change the file tree",
          "mount umount2 pivot_root chroot open_tree move_mount fsopen fsconfig fsmount fspick "
          "mount_setattr statmount listmount open_by_handle_at name_to_handle_at fanotify_init"),
    Group("change namespaces or the jail itself", "unshare setns seccomp personality"),
    Group("change ids or capabilities",
          "setuid setgid setreuid setregid setresuid setresgid setgroups setfsuid setfsgid capset"),
    Group("the machine: modules, clock, power, name, swap, accounting, hardware",
          "init_module finit_module delete_module kexec_load kexec_file_load reboot swapon swapoff "
          "acct quotactl quotactl_fd syslog sethostname setdomainname settimeofday clock_settime "
          "adjtimex clock_adjtime vhangup iopl ioperm modify_ldt"),
    Group("keyrings, shared across namespaces", "keyctl add_key request_key"),
    Group("placement of memory", "move_pages migrate_pages"),
)  # fmt: skip

MISSING: Final = (
    Group("flags behind a pointer, which a filter cannot read", "clone3 openat2"),
    Group("newer than what the policy was made for", "io_pgetevents map_shadow_stack"),
    Group("how full the host's disk is, which the shared runtime lies on", "statfs fstatfs"),
)

PRETENDED: Final = (
    Group("flushing the host's disk by way of a shared file; a private file has no disk behind it",
          "fsync fdatasync"),
    Group("evicting shared files from the page cache; it is advice, and may be ignored",
          "fadvise64"),
)  # fmt: skip

_EXEC: Final = 4
_WRITE_EXEC: Final = 6
_MAP_ANONYMOUS: Final = 0x20
_MAP_HUGETLB: Final = 0x40000
_AF_UNIX: Final = 1
_OUT_OF_BAND: Final = 0x24002001
"""MSG_OOB MSG_ERRQUEUE MSG_ZEROCOPY MSG_FASTOPEN: of no use here, and jails were left by them."""
_PTHREAD_FLAGS: Final = 0x3D0F00
_IOCTLS: Final = (
    0x5401,  # TCGETS: isatty
    0x5413,  # TIOCGWINSZ
    0x541B,  # FIONREAD
    0x5421,  # FIONBIO
    0x5450,  # FIONCLEX
    0x5451,  # FIOCLEX
)
_FCNTLS: Final = (
    0, 1, 2, 3, 4,  # F_DUPFD F_GETFD F_SETFD F_GETFL F_SETFL
    5, 6, 7, 36, 37, 38,  # locks of this process and of the open file
    1030, 1032,  # F_DUPFD_CLOEXEC F_GETPIPE_SZ
)  # fmt: skip
_ADVICE: Final = (
    0, 1, 2, 3, 4, 8,  # MADV_NORMAL RANDOM SEQUENTIAL WILLNEED DONTNEED FREE
    14, 15, 16, 17, 18,  # MADV_HUGEPAGE NOHUGEPAGE DONTDUMP DODUMP WIPEONFORK
)  # fmt: skip
_PR_SET_NAME_AND_GET_NAME: Final = (15, 16)
_SELF: Final = 1
"""An instance is pid 1 of its own pid namespace."""

ALLOW: Final = (
    Group("descriptors and data",
          "read write readv writev pread64 pwrite64 preadv pwritev lseek close close_range dup "
          "dup2 dup3 pipe pipe2 sendfile copy_file_range"),
    Group("files in the private tree",
          "open openat stat lstat fstat newfstatat statx access faccessat faccessat2 readlink "
          "readlinkat getdents64 getcwd chdir fchdir umask truncate ftruncate "
          "unlink unlinkat rename renameat renameat2 mkdir mkdirat rmdir chmod fchmod fchmodat "
          "fchmodat2 utimensat flock fallocate"),
    Group("waiting",
          "poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait "
          "epoll_pwait2 eventfd2 pause"),
    Group("the wire, a connected socket", "getsockname getpeername getsockopt shutdown"),
    Group("receive what was sent in order", "recvfrom", (Argument(3, (0,), _OUT_OF_BAND),)),
    Group("the same", "recvmsg", (Argument(2, (0,), _OUT_OF_BAND),)),
    Group("memory", "munmap mremap brk membarrier"),
    Group("advice on memory, none by which pages of several instances are merged", "madvise",
          (Argument(2, _ADVICE, _INT),)),
    Group("threads of this process",
          "futex set_robust_list get_robust_list rseq set_tid_address gettid getpid getppid "
          "sched_yield sched_getaffinity sched_getparam sched_getscheduler exit exit_group"),
    Group("signals to itself",
          "rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending sigaltstack restart_syscall"),
    Group("time",
          "clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday time times getrusage"),
    Group("who am I",
          "getuid geteuid getgid getegid getresuid getresgid getgroups getpgrp getpgid getsid "
          "uname getrandom getrlimit getcpu"),
    Group("memory that is not executable", "mprotect", (Argument(2, (0,), _EXEC),)),
    Group("the same, and not of the machine's reserve of huge pages, which no limit counts", "mmap",
          (Argument(2, (0,), _EXEC), Argument(3, (0,), _MAP_HUGETLB))),
    Group("shared libraries: executable, not writable, from a file", "mmap",
          (Argument(2, (_EXEC,), _WRITE_EXEC), Argument(3, (0,), _MAP_ANONYMOUS | _MAP_HUGETLB))),
    Group("terminals are asked, nothing is set", "ioctl", (Argument(1, _IOCTLS, _INT),)),
    Group("no signals by descriptor, no leases", "fcntl", (Argument(1, _FCNTLS, _INT),)),
    Group("the event loop's self-pipe", "socketpair", (Argument(0, (_AF_UNIX,), _INT),)),
    Group("send in order on a connected socket, to no address", "sendto",
          (Argument(3, (0,), _OUT_OF_BAND), Argument(4, (0,)))),
    Group("threads, never processes", "clone", (Argument(0, (_PTHREAD_FLAGS,)),)),
    Group("abort", "tgkill", (Argument(0, (_SELF,), _INT),)),
    Group("its own limits, read only", "prlimit64", (Argument(0, (0,), _INT), Argument(2, (0,)))),
    Group("thread names", "prctl", (Argument(0, _PR_SET_NAME_AND_GET_NAME, _INT),)),
)  # fmt: skip

POLICY: Final = Policy(kill=KILL, missing=MISSING, pretended=PRETENDED, allow=ALLOW)
