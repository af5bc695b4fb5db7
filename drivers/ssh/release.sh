# Takes a runtime down, unless it has a newer holder: what runs in it, and what it made. The marker is set aside first, so that no command starts any
# more, and goes last, so that half a release is still listed.
leases=$root/.tenure/leases
file=$leases/$id
gone=$leases/$id.gone
if [ -e "$file" ]; then
  lock
  if [ -e "$file" ]; then
    found=$(cat -- "$file") || fail read_marker "the marker cannot be read"
    at=${found#*'"fence":'}
    at=${at%%[!0-9]*}
    if [ "$fence" -gt 0 ] && [ "${at:-0}" -gt "$fence" ]; then fail stale_fence "the runtime is held with fence $at, newer than $fence"; fi
    step set_aside mv -f -- "$file" "$gone"
  fi
fi
end_all "TENURE_RUNTIME_ID=$id"
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
