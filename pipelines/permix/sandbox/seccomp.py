"""The system calls that a program in the sandbox may make, as a seccomp filter.

An allow-list: all other calls (sockets, ptrace, kill, new processes, exec, mount, io_uring, keys …) fail with EPERM.
A few calls are allowed with some arguments only. https://www.kernel.org/doc/html/latest/userspace-api/seccomp_filter.html
"""

import errno
import platform
import struct

# Of linux 6.18: arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h; the most frequent first.
# The numbers of aarch64 were compared with that header; no such machine has run them yet.
_X86_64 = """
read=0 write=1 close=3 mmap=9 munmap=11 brk=12 futex=202 newfstatat=262 fstat=5 lseek=8 readv=19 writev=20 pread64=17
pwrite64=18 preadv=295 pwritev=296 stat=4 lstat=6 statx=332 statfs=137 fstatfs=138 access=21 faccessat=269
faccessat2=439 readlink=89 readlinkat=267 getcwd=79 chdir=80 fchdir=81 getdents=78 getdents64=217 mkdir=83 mkdirat=258
rmdir=84 unlink=87 unlinkat=263 rename=82 renameat=264 renameat2=316 symlink=88 symlinkat=266 ftruncate=77
fallocate=285 fsync=74 fdatasync=75 fadvise64=221 copy_file_range=326 sendfile=40 umask=95 dup=32 dup2=33 dup3=292
flock=73 pipe=22 pipe2=293 poll=7 ppoll=271 select=23 pselect6=270 epoll_create1=291 epoll_ctl=233 epoll_wait=232
epoll_pwait=281 eventfd2=290 mprotect=10 mremap=25 madvise=28 mincore=27 membarrier=324 rt_sigaction=13
rt_sigprocmask=14 rt_sigreturn=15 rt_sigpending=127 rt_sigtimedwait=128 rt_sigsuspend=130 sigaltstack=131 pause=34
alarm=37 setitimer=38 getitimer=36 nanosleep=35 clock_nanosleep=230 clock_gettime=228 clock_getres=229 gettimeofday=96
time=201 times=100 getrusage=98 getrlimit=97 sysinfo=99 uname=63 getpid=39 getppid=110 gettid=186 getpgrp=111
getpgid=121 getsid=124 getuid=102 geteuid=107 getgid=104 getegid=108 getresuid=118 getresgid=120 getgroups=115 exit=60
exit_group=231 set_robust_list=273 get_robust_list=274 rseq=334 set_tid_address=218 arch_prctl=158 wait4=61 waitid=247
sched_yield=24 sched_getaffinity=204 sched_getparam=143 sched_getscheduler=145 sched_get_priority_max=146
sched_get_priority_min=147 getpriority=140 getcpu=309 getrandom=318 restart_syscall=219
"""
_AARCH64 = """
read=63 write=64 close=57 mmap=222 munmap=215 brk=214 futex=98 newfstatat=79 fstat=80 lseek=62 readv=65 writev=66
pread64=67 pwrite64=68 preadv=69 pwritev=70 statx=291 statfs=43 fstatfs=44 faccessat=48 faccessat2=439 readlinkat=78
getcwd=17 chdir=49 fchdir=50 getdents64=61 mkdirat=34 unlinkat=35 renameat=38 renameat2=276 symlinkat=36 ftruncate=46
fallocate=47 fsync=82 fdatasync=83 fadvise64=223 copy_file_range=285 sendfile=71 umask=166 dup=23 dup3=24 flock=32
pipe2=59 ppoll=73 pselect6=72 epoll_create1=20 epoll_ctl=21 epoll_pwait=22 eventfd2=19 mprotect=226 mremap=216
madvise=233 mincore=232 membarrier=283 rt_sigaction=134 rt_sigprocmask=135 rt_sigreturn=139 rt_sigpending=136
rt_sigtimedwait=137 rt_sigsuspend=133 sigaltstack=132 setitimer=103 getitimer=102 nanosleep=101 clock_nanosleep=115
clock_gettime=113 clock_getres=114 gettimeofday=169 times=153 getrusage=165 getrlimit=163 sysinfo=179 uname=160
getpid=172 getppid=173 gettid=178 getpgid=155 getsid=156 getuid=174 geteuid=175 getgid=176 getegid=177 getresuid=148
getresgid=150 getgroups=158 exit=93 exit_group=94 set_robust_list=99 get_robust_list=100 rseq=293 set_tid_address=96
wait4=260 waitid=95 sched_yield=124 sched_getaffinity=123 sched_getparam=121 sched_getscheduler=120
sched_get_priority_max=125 sched_get_priority_min=126 getpriority=141 getcpu=168 getrandom=278 restart_syscall=128
"""
# Calls whose arguments are checked.
_X86_64_SPECIAL = "open=2 openat=257 ioctl=16 fcntl=72 prctl=157 prlimit64=302 clone=56 clone3=435 tgkill=234"
_AARCH64_SPECIAL = "openat=56 ioctl=29 fcntl=25 prctl=167 prlimit64=261 clone=220 clone3=435 tgkill=131"
_MACHINES = {"x86_64": (0xC000003E, _X86_64, _X86_64_SPECIAL), "aarch64": (0xC00000B7, _AARCH64, _AARCH64_SPECIAL)}

OWN_PID = struct.pack("<I", 0x7FFFFFFE)  # placeholder in the filter for the process's own id, replaced after the fork

_LOAD, _AND, _RETURN = 0x20, 0x54, 0x06
_EQUAL, _AT_LEAST, _ANY_BIT = 0x15, 0x35, 0x45
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_NUMBER, _MACHINE = 0, 4  # offsets in struct seccomp_data; the low half of argument n is at 16 + 8 n
_IOCTLS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)  # TCGETS TIOCGWINSZ FIONREAD FIONBIO FIONCLEX FIOCLEX
# F_DUPFD F_GETFD F_SETFD F_GETFL F_SETFL F_GETLK F_SETLK F_SETLKW F_DUPFD_CLOEXEC F_GETPIPE_SZ; not F_SETOWN, which
# sends signals to others.
_FCNTLS = (0, 1, 2, 3, 4, 5, 6, 7, 1030, 1032)
_PRCTLS = (15, 16)  # PR_SET_NAME PR_GET_NAME
_CLONE_THREAD = 0x10000
_O_ACCMODE, _O_TRUNC = 0o3, 0o1000


def program(machine: str = platform.machine()) -> bytes | None:
    """Return the filter for a machine as an array of struct sock_filter, or None without a table of its calls."""
    if machine not in _MACHINES:
        return None
    token, plain, special = _MACHINES[machine]
    code = [
        _step(_LOAD, _MACHINE),
        _step(_EQUAL, token, 1, 0),
        _step(_RETURN, _KILL),
        _step(_LOAD, _NUMBER),
        *([_step(_AT_LEAST, 0x40000000, 0, 1), _fail(errno.ENOSYS)] if machine == "x86_64" else []),  # the x32 calls
    ]
    for number in _numbers(plain).values():
        code += [_step(_EQUAL, number, 0, 1), _step(_RETURN, _ALLOW)]
    for name, number in _numbers(special).items():
        block = _special(name)
        code += [_step(_EQUAL, number, 0, len(block)), *block]
    return b"".join([*code, _fail(errno.EPERM)])


def _special(name: str) -> list[bytes]:
    """Return the steps for a call with checked arguments; the last one returns."""
    if name in ("open", "openat"):  # to truncate a file that is opened for reading: Landlock before ABI 3 lets it pass
        load_flags = _step(_LOAD, 16 + 8 * (1 if name == "open" else 2))
        is_truncating = [_step(_AND, _O_ACCMODE | _O_TRUNC), _step(_EQUAL, _O_TRUNC, 0, 1)]
        return [load_flags, *is_truncating, _fail(errno.EPERM), _step(_RETURN, _ALLOW)]
    if name == "clone":  # a thread, not a process
        is_thread = _step(_ANY_BIT, _CLONE_THREAD, 0, 1)
        return [_step(_LOAD, 16), is_thread, _step(_RETURN, _ALLOW), _fail(errno.EPERM)]
    if name == "clone3":  # its flags are behind a pointer; glibc falls back to clone
        return [_fail(errno.ENOSYS)]
    argument, allowed, otherwise = {
        "ioctl": (1, _IOCTLS, errno.ENOTTY),
        "fcntl": (1, _FCNTLS, errno.EPERM),
        "prctl": (0, _PRCTLS, errno.EPERM),
        "prlimit64": (0, (0,), errno.EPERM),  # itself
        "tgkill": (0, (struct.unpack("<I", OWN_PID)[0],), errno.EPERM),  # abort() and raise()
    }[name]
    tests = [step for value in allowed for step in (_step(_EQUAL, value, 0, 1), _step(_RETURN, _ALLOW))]
    return [_step(_LOAD, 16 + 8 * argument), *tests, _fail(otherwise)]


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, value)


def _fail(number: int) -> bytes:
    return _step(_RETURN, 0x00050000 | number)


def _numbers(table: str) -> dict[str, int]:
    return {name: int(number) for name, number in (entry.split("=") for entry in table.split())}
