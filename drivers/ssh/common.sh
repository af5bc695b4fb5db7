LC_ALL=C
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:$PATH
export LC_ALL PATH
umask 022
fail() {
  printf 'fail %s\n%s\n' "$1" "$2"
  exit 0
}
# step NAME COMMAND...: the command works, or its words are the failure of the step.
step() {
  name=$1
  shift
  said=$("$@" 2>&1) || fail "$name" "$said"
}
# tools prints where perl and python3 are, so that commands can be run with them.
tools() {
  found_perl=
  found_python=
  case $hide in *" perl "*) ;; *) found_perl=$(command -v perl) ;; esac
  case $hide in *" python3 "*) ;; *) found_python=$(command -v python3) ;; esac
  printf '%s|%s\n' "$found_perl" "$found_python"
}
# end_all VARIABLE=VALUE: ends every process that has it in its environment, whatever session it is in.
end_all() {
  carry() { grep -lzxF -- "$1" /proc/[0-9]*/environ 2>/dev/null; }
  if ! printf 'a\000b\000' | grep -qzxF b 2>/dev/null; then # a grep without -z
    carry() {
      for e in /proc/[0-9]*/environ; do
        { tr '\000' '\n' <"$e" | grep -qxF -- "$1" && echo "$e"; } 2>/dev/null
      done
    }
  fi
  tries=0
  while :; do
    pids=
    for e in $(carry "$1"); do
      e=${e#/proc/}
      pids="$pids ${e%/environ}"
    done
    [ -n "$pids" ] || return 0
    tries=$((tries + 1))
    [ $tries -le 100 ] || fail end_processes "these still run:$pids"
    kill -9 $pids 2>/dev/null
    nap
  done
}
nap() { sleep 0.05 2>/dev/null || sleep 1; }
# machine sets what tells this machine from others; nothing where it does not say.
machine() {
  machine=
  { read -r machine <"$machinefile"; } 2>/dev/null || :
}
# place prints which directory the workspace is: one that was made anew is another. Nothing where that cannot be told.
place() { TZ=UTC0 stat -c '%i %w' -- "$cwd" 2>/dev/null || :; }
# try_lock takes the lock of descriptor 9: 1 says that somebody has it, 2 that there is none to be had here.
try_lock() {
  found_flock=
  case $hide in *" flock "*) ;; *) found_flock=$(command -v flock) ;; esac
  if [ -n "$found_flock" ]; then
    flock -n 9 9<&9 2>/dev/null
  elif [ -n "$(tools | cut -d'|' -f1)" ]; then
    perl -e 'open(my $f, "<&=", 9) or exit 2; flock($f, 6) and exit 0; exit($! == 11 ? 1 : 2)' 9<&9
  elif [ -n "$(tools | cut -d'|' -f2)" ]; then
    python3 -c 'import fcntl, sys
try: fcntl.flock(9, 6)
except BlockingIOError: sys.exit(1)
except OSError: sys.exit(2)' 9<&9
  else
    return 2
  fi
}
# lock keeps commands of the runtime $id from being started, and everything else from changing who holds it, until this script
# ends. Where the host has no locks it does nothing, and what is written before processes are ended has to do.
lock() {
  tries=0
  while :; do
    [ -r "$leases/.$id.lock" ] || return 0
    exec 9<"$leases/.$id.lock"
    try_lock
    case $? in
    0) if [ "$leases/.$id.lock" -ef "/proc/$$/fd/9" ]; then return 0; fi ;; # else it was removed meanwhile
    1) ;;
    *) return 0 ;;
    esac
    tries=$((tries + 1))
    [ $tries -le 200 ] || fail lock "another process is at work on the runtime"
    nap
  done
}
