LC_ALL=C
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:$PATH
export LC_ALL PATH
umask 022
leases=$root/.tenure/leases
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
