# Looks at who holds a runtime (look), or changes that (keep, resume) if it is still as it was when it was looked at.
leases=$root/.tenure/leases
file=$leases/$id
tmp=$root/.tenure/tmp/$id
said=$(ls -d -- "$root/." 2>&1) || fail find_workspace "$said"
machine
if [ ! -e "$file" ]; then
  # Only who can look knows that it is not there.
  [ ! -e "$leases" ] || said=$(ls -- "$leases" 2>&1) || [ ! -e "$leases" ] || fail read_marker "$said"
  if [ $mode = keep ]; then end_all "TENURE_RUNTIME_ID=$id"; fi
  printf 'ok\n%s\ngone\n' "$machine"
  exit 0
fi
if [ $mode = look ]; then
  if ! found=$(cat -- "$file" 2>/dev/null); then
    if [ -e "$file" ]; then fail read_marker "the marker cannot be read"; fi
    printf 'ok\n%s\ngone\n' "$machine" # a release took it away in this moment
    exit 0
  fi
  printf 'ok\n%s\nfound\n%s\n' "$machine" "$found"
  exit 0
fi
lock
if [ ! -e "$file" ] || [ "$(cat -- "$file")" != "$expect" ]; then
  printf 'ok\n%s\nchanged\n' "$machine"
  exit 0
fi
new=$leases/.$id.$$
write() {
  said=$(printf '%s\n' "$1" 2>&1 >"$new" && mv -f -- "$new" "$file" 2>&1) || { rm -f -- "$new"; fail write_marker "$said"; }
}
state=done
if [ "$own" = yes ]; then
  if [ ! -d "$cwd" ]; then state=lost; elif [ -e "$leases/.$id.place" ] && [ "$(place)" != "$(cat -- "$leases/.$id.place")" ]; then state=moved; fi
fi
if [ $mode = keep ] || [ $state = done ]; then
  write "$first"
  end_all "TENURE_RUNTIME_ID=$id"
fi
if [ $mode = resume ] && [ $state = done ]; then
  [ -d "$cwd" ] || step make_workspace mkdir -p -- "$cwd"
  [ -d "$tmp" ] || step make_tmp mkdir -p -m 700 -- "$tmp"
  write "$last"
fi
printf 'ok\n%s\n%s\n' "$machine" $state
tools
