# Becomes the command on a host that has neither perl nor python3: the server itself sees its end.
unset PWD OLDPWD SHLVL
umask 022
fail() {
  printf '\000tenure-exec-1\000F %s\t%s\t%s\n' "$@"
  exit 0
}
# Whoever changes who holds the runtime holds the lock alone, and ends what has the runtime's id in its environment, as this
# shell has, after that: so where there is no flock, this either sees the change or is ended.
if [ -r "$lock" ] && command -v flock >/dev/null 2>&1; then
  exec 9<"$lock"
  flock -s 9
fi
{ read -r found <"$marker"; } 2>/dev/null || fail runtime runtime_gone 'the runtime is gone'
at=${found#*'"fence":'}
at=${at%%[!0-9]*}
[ "${at:-0}" -le "$fence" ] || fail fence stale_fence "the runtime is held with fence $at, newer than $fence"
case $found in *'"kept":true'*) fail fence stale_fence 'the runtime was given back by its holder' ;; esac
[ -e "$cwd" ] || fail cwd cwd_not_found "$cwd: No such file or directory"
cd -- "$cwd" 2>/dev/null || fail cwd cwd_unusable "$cwd: not a directory that may be entered"
unset PWD OLDPWD
read -r boot </proc/sys/kernel/random/boot_id
read -r stat </proc/$$/stat
started() { shift 19; stat=$1; }
started ${stat##*) }
printf '\000tenure-exec-1\000' >&2
printf '\000tenure-exec-1\000S %s %s %s\n' $$ "$stat" "$boot"
