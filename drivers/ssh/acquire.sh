# Makes a runtime: workspace, marker, temporary directory, as one script so that a warm connection needs one question.
leases=$root/.tenure/leases
room() {
  [ "$minfree" -ge 0 ] || return
  line=$(df -Pk -- "$1" 2>/dev/null)
  line=${line##*"
"}
  line=${line%%%*} # file system, blocks, used, free, capacity up to its percent sign
  line=${line% *}
  set -- $line
  [ $# -lt 4 ] && return # a df of another kind: writing will tell
  while [ $# -gt 1 ]; do shift; done
  case $1 in *[!0-9]* | '') return ;; esac
  [ "$1" -ge "$minfree" ] || fail free_space "$1 KiB are free below $root, and $minfree are needed"
}
# try writes a file; a program does it, since its words say why it cannot.
try() { echo tenure | cat >"$1"; }
[ -r /proc/$$/environ ] && [ -r /proc/sys/kernel/random/boot_id ] || fail check_host "the host has no /proc as Linux has it"
if [ "$mode" = check ]; then
  at=$root
  while [ ! -e "$at" ] && [ "$at" != / ]; do at=$(dirname -- "$at"); done
  [ -d "$at" ] || fail make_workspace "$at: Not a directory"
  if [ "$at" = "$root" ]; then
    trial=$root/.tenure-probe-$$
    said=$(try "$trial" 2>&1)
    worked=$?
    rm -f -- "$trial"
    [ $worked = 0 ] || fail write_workspace "$said"
  else
    # Of what cannot be written, a try to says why, and leaves nothing.
    [ -w "$at" ] || fail make_workspace "$(try "$at/.tenure-probe-$$" 2>&1 || :)"
  fi
  room "$at"
  echo ok
  tools
  printf '%s\n' "$at"
  exit 0
fi
[ -d "$root" ] || step make_workspace mkdir -p -- "$root"
room "$root"
file=$leases/$id
new=$leases/.$id.$$
put() { printf '%s\n' "$marker" | cat >"$new"; }
tries=0
while :; do
  [ -d "$leases" ] || step make_marker mkdir -p -- "$leases"
  if [ -e "$file" ]; then
    if [ -n "$expect" ]; then lock; fi
    if ! found=$(cat -- "$file" 2>/dev/null); then
      [ ! -e "$file" ] || fail read_marker "the marker cannot be read"
      tries=$((tries + 1)) # a release took it away in this moment
      [ $tries -lt 10 ] || fail write_marker "the marker comes and goes"
      continue
    fi
    if [ -z "$expect" ] || [ "$found" != "$expect" ]; then
      how=exists
      break
    fi
  fi
  if said=$(put 2>&1); then
    if [ -n "$expect" ]; then
      step write_marker mv -f -- "$new" "$file"
      how=exists
      found=$marker
      break
    fi
    if said=$(ln -- "$new" "$file" 2>&1); then
      rm -f -- "$new"
      how=made
      break
    fi
  fi
  rm -f -- "$new"
  # Another acquire of this id may have come first, or the release of another lease removed the empty directory.
  tries=$((tries + 1))
  [ $tries -lt 10 ] || fail write_marker "$said"
done
[ -e "$leases/.$id.lock" ] || : >>"$leases/.$id.lock"
tmp=$root/.tenure/tmp/$id
# give_up undoes what this acquire made, so that a workspace that cannot be used holds nothing of ours.
give_up() {
  if [ $how = made ]; then
    rm -f -- "$file" "$leases/.$id.lock"
    rmdir -- "$tmp" "$root/.tenure/tmp" "$leases" "$root/.tenure" 2>/dev/null
  fi
  fail "$1" "$2"
}
# The release of another lease may remove an empty directory above, so the second try may do.
[ -d "$tmp" ] || said=$(mkdir -p -m 700 -- "$tmp" 2>&1) || said=$(mkdir -p -m 700 -- "$tmp" 2>&1) || give_up make_tmp "$said"
[ -d "$cwd" ] || said=$(mkdir -p -- "$cwd" 2>&1) || give_up make_workspace "$said"
# The marker was written to the same disk, so what is left to ask is permission. Every program that is started here costs a
# warm acquire a millisecond.
[ -w "$cwd" ] && [ -x "$cwd" ] || give_up write_workspace "$cwd: Permission denied"
if [ "$own" = yes ] && [ ! -e "$leases/.$id.place" ]; then place >"$leases/.$id.place"; fi
machine
echo ok
tools
printf '%s\n%s\n%s\n' "$how" "$found" "$machine"
