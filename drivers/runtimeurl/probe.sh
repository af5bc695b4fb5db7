# Tries the health route of each base URL and prints one line for each try. Standard input: the seconds per try, then lines
#   index scheme name|addr host port authority path address
# None of these holds a character that means something to a shell, to curl's configuration or in HTTP. Nothing is evaluated.
set -f
LC_ALL=C; export LC_ALL
unset http_proxy https_proxy all_proxy no_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY WGETRC
tab='	'
nl='
'
cr=$(printf '\r')

have() { command -v "$1" >/dev/null 2>&1; }

# guard runs a command with descriptor 3 as its standard input and ends it after $seconds.
guard() {
  "$@" <&3 3<&- &
  pid=$!
  if have sleep; then
    # $! is the nap as soon as there is one, whenever the signal comes; before that it is what is guarded.
    ( trap '[ $! = $pid ] || kill $!; exit 0' TERM
      sleep "$seconds" &
      wait $!
      kill -9 $pid ) >/dev/null 2>&1 </dev/null 3<&- &
    dog=$!
  else
    dog=
  fi
  wait $pid
  result=$?
  [ -z "$dog" ] || kill $dog 2>/dev/null
  return $result
}

by_curl() {
  pin=
  [ $kind = addr ] || [ "$addr" = - ] || pin="resolve = \"$host:$port:$addr\""
  guard curl -q -s -S -i -g --http1.1 --max-time "$seconds" --max-filesize 1024 --noproxy '*' --max-redirs 0 -K - 3<<END
url = "$scheme://$authority$path"
header = "Connection: close"
$pin
END
}

# by_wget is GNU's. Over http it goes to the address and names the host in the header.
by_wget() {
  place=$authority
  [ $scheme = https ] || [ "$addr" = - ] || place=$addr:$port
  guard wget --no-config -nv -S -t 1 -T "$seconds" --max-redirect=0 --no-proxy --no-hsts -O - \
    --header "Host: $authority" -- "$scheme://$place$path" 3</dev/null
}

# by_busybox names the address as the proxy, since this wget follows redirects and a proxy keeps it at that address.
by_busybox() {
  place=$host:$port
  [ $kind = name ] || place=$addr:$port
  [ "$addr" = - ] || place=$addr:$port
  http_proxy=http://$place guard $busybox -S -O - "http://$authority$path" 3</dev/null
}

# by_bash speaks HTTP/1.0, so that nothing comes in chunks. It prints at most 64 short lines of the header. It keeps the time
# by itself once it is connected, for a runtime without sleep.
by_bash() {
  peer=$host
  [ $kind = name ] || peer=${addr#[}
  [ "$addr" = - ] || peer=${addr#[}
  peer=${peer%]}
  PEER=$peer PORT=$port NAME=$authority ROUTE=$path LIMIT=$seconds CR=$cr guard bash -c '
    left() { echo $((LIMIT > SECONDS ? LIMIT - SECONDS : 0)).01; }
    late() { [ $1 -le 128 ] || { echo timed out; exit 1; }; }
    exec 4<>"/dev/tcp/$PEER/$PORT" || exit 1
    printf "GET %s HTTP/1.0\r\nHost: %s\r\nConnection: close\r\n\r\n" "$ROUTE" "$NAME" >&4
    for ((i = 0; i < 64; i++)); do
      IFS= read -r -n 2048 -t $(left) line <&4 || { late $?; break; }
      line=${line%"$CR"}
      [ -n "$line" ] || break
      printf "%s\n" "$line"
    done
    IFS= read -r -d "" -n 1024 -t $(left) body <&4
    result=$?
    printf "%s\n" "$body"
    late $result' 3</dev/null
}

# limit passes on what is read at most, header included.
limit() {
  if have head; then head -c 8192
  elif have dd; then dd bs=1 count=8192 2>/dev/null
  else while IFS= read -r line || [ -n "$line" ]; do printf '%s\n' "$line"; done # what bash prints is short
  fi
}

# join makes one line of many: a tab between each two.
join() {
  saved=$IFS
  IFS=$tab$nl$cr
  for part in $1; do printf '\t%s' "$part"; done
  IFS=$saved
  printf '\n'
}

wget= busybox=
if have wget; then
  case $(wget --version 2>/dev/null) in *GNU*) wget=gnu ;; *) busybox=wget ;; esac
fi
if [ -z "$busybox" ] && have busybox; then
  case $(busybox wget --help 2>&1) in *Usage:*) busybox='busybox wget' ;; esac
fi
short=; have head || have dd && short=yes

read -r seconds || exit 0
while read -r index scheme kind host port authority path addr; do
  tools=
  if [ -n "$short" ]; then
    ! have curl || tools=by_curl
    [ -z "$wget" ] || tools="$tools by_wget"
  fi
  if [ $scheme = http ]; then
    ! have bash || tools="$tools by_bash"
    [ -z "$busybox" ] || [ -z "$short" ] || tools="$tools by_busybox"
  fi
  tool=none text='neither curl nor wget nor bash is there'
  [ $scheme = http ] || text='https needs curl or GNU wget: busybox wget checks no certificate and bash knows no TLS'
  for try in $tools; do
    tool=${try#by_}
    text=$( { $try; result=$?; printf '\nrc=%s\n' $result; } 2>&1 </dev/null | limit)
    case $text in
    *HTTP/*) break ;;
    *rc=2 | *rc=126 | *rc=127) ;; # the tool is broken or knows no such option
    *) break ;;
    esac
  done
  printf 'tenure-url\t%s\t%s' "$index" "$tool"
  join "$text"
  case $text in *HTTP/*' 200'*'"status"'*'"ok"'*) break ;; esac
done
exit 0
