# Takes a runtime down: what runs in it, and what it made. The marker is set aside first, so that no command starts any
# more, and goes last, so that half a release is still listed.
file=$leases/$id
gone=$leases/$id.gone
if [ -e "$file" ]; then step set_aside mv -f -- "$file" "$gone"; fi
ours() { grep -lzxF -- "TENURE_RUNTIME_ID=$id" /proc/[0-9]*/environ 2>/dev/null; }
if ! printf 'a\000b\000' | grep -qzxF b 2>/dev/null; then
  ours() {
    for e in /proc/[0-9]*/environ; do
      { tr '\000' '\n' <"$e" | grep -qxF -- "TENURE_RUNTIME_ID=$id" && echo "$e"; } 2>/dev/null
    done
  }
fi
tries=0
while :; do
  pids=
  for e in $(ours); do
    e=${e#/proc/}
    pids="$pids ${e%/environ}"
  done
  [ -n "$pids" ] || break
  tries=$((tries + 1))
  [ $tries -le 100 ] || fail end_processes "these still run:$pids"
  kill -9 $pids 2>/dev/null
  sleep 0.05 2>/dev/null || sleep 1
done
if [ -e "$gone" ] || [ -e "$root/.tenure" ]; then
  remove() {
    [ -e "$1" ] || [ -L "$1" ] || return 0
    rm -rf -- "$1" 2>/dev/null && return
    chmod -R u+rwx -- "$1" 2>/dev/null
    rm -rf -- "$1"
  }
  step remove_tmp remove "$root/.tenure/tmp/$id"
  if [ "$own" = yes ]; then step remove_workspace remove "$cwd"; fi
  step remove_marker rm -f -- "$leases/.$id".* "$gone"
  rmdir -- "$root/.tenure/tmp" "$leases" "$root/.tenure" 2>/dev/null
fi
echo ok
