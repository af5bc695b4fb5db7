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
