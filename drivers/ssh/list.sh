# Prints the markers, those of half a release included.
leases=$root/.tenure/leases
echo ok
for f in "$leases"/*; do
  [ -f "$f" ] && cat -- "$f" 2>/dev/null
done
exit 0
