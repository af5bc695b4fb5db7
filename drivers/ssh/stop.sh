# Ends a command whose parent cannot do it: asks its main process, gives it its grace, and ends what carries its id.
same() { # the process that was meant, not another that has its number by now
  [ -r "/proc/$pid/stat" ] || return 1
  read -r line <"/proc/$pid/stat" || return 1
  set -- ${line##*) }
  [ "$1" != Z ] || return 1
  shift 19
  [ "$1" = "$start" ]
}
if [ "$grace" -gt 0 ] && [ "$pid" -gt 0 ] && same; then
  kill -15 "$pid" 2>/dev/null
  left=$((grace / 50 + 1))
  while [ $left -gt 0 ] && same; do
    nap
    left=$((left - 1))
  done
fi
if [ "$pid" -gt 0 ] && same; then kill -9 "-$pid" "$pid" 2>/dev/null; fi
end_all "$own"
echo ok
