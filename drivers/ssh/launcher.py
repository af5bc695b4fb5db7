# Starts a command on a host that has no perl: it becomes the command, so the server itself sees its end. The environment
# is passed on byte for byte.
import os, struct, sys
def take(n):
    b = b""
    while len(b) < n:
        r = os.read(0, n - len(b))
        if not r: os._exit(97)
        b += r
    return b
b = take(struct.unpack(">I", take(4))[0])
fields = []
while b:
    n = struct.unpack(">I", b[:4])[0]
    fields.append(b[4:4 + n])
    b = b[4 + n:]
marker, lock, fence, cwd, argc = fields[1], fields[2], int(fields[3]), fields[4], int(fields[8])
argv, env = fields[9:9 + argc], dict(v.split(b"=", 1) for v in fields[9 + argc:])
magic = b"\0tenure-exec-1\0"
def say(fd, b):
    while b: b = b[os.write(fd, b):]
def fail(*parts):
    say(1, magic + b"F " + b"\t".join(parts).replace(b"\n", b" ") + b"\n")
    os._exit(0)
# The lock is held until the command is executed, which closes it.
import fcntl, re, time
held, until = -1, time.monotonic() + 10
while held < 0:
    try:
        held = os.open(lock, os.O_RDONLY)
    except OSError:
        break
    try:
        fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
        if not os.path.exists(lock) or os.path.samestat(os.fstat(held), os.stat(lock)): break
    except BlockingIOError:
        if time.monotonic() > until: fail(b"runtime", b"runtime_busy", b"another process is at work on the runtime")
        time.sleep(0.01)
    except OSError:
        break # a file system without locks
    os.close(held)
    held = -1
try:
    found = open(marker, "rb").read()
except OSError:
    fail(b"runtime", b"runtime_gone", b"the runtime is gone")
at = re.search(rb'"fence":(\d+)', found)
if at and int(at.group(1)) > fence:
    fail(b"fence", b"stale_fence", b"the runtime is held with fence %s, newer than %d" % (at.group(1), fence))
if b'"kept":true' in found:
    fail(b"fence", b"stale_fence", b"the runtime was given back by its holder")
os.umask(0o022)
try:
    os.chdir(cwd)
except OSError as e:
    fail(b"cwd", b"cwd_not_found" if e.errno == 2 else b"cwd_unusable", cwd + b": " + e.strerror.encode())
import signal
for n in range(1, 65):
    try:
        if signal.getsignal(n) == signal.SIG_IGN: signal.signal(n, signal.SIG_DFL)
    except (ValueError, OSError): pass
stat = open("/proc/self/stat", "rb").read().rsplit(b")", 1)[1].split()
boot = open("/proc/sys/kernel/random/boot_id", "rb").read().strip()
say(2, magic)
say(1, magic + b"S %d %s %s\n" % (os.getpid(), stat[19], boot))
name, code, why = argv[0], 127, b"command not found"
path = env.get(b"PATH", b"")
places = [name] if b"/" in name else [(d or b".") + b"/" + name for d in path.split(b":")] if path else []
for at in places:
    if os.path.isdir(at):
        code, why = 126, b"is a directory"
        continue
    try:
        os.execve(at, argv, env)
    except OSError as e:
        if e.errno in (2, 20, 36):
            if os.path.exists(at): code, why = 126, b"its interpreter or loader does not exist"
            else: continue
        elif e.errno == 8: code, why = 126, b"not a program (a script needs a first line such as #!/bin/sh)"
        else: code, why = 126, e.strerror.encode()
        if e.errno != 13: break
say(2, b"tenure: " + name + b": " + why + b"\n")
os._exit(code)
