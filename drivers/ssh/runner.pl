# The parent of one command on the host. It comes over the channel's stdin, followed by what to run, and then speaks in
# frames: a letter, the length in four bytes, the data. It makes pipes for the command, so that its output has names; it is
# the subreaper of everything the command starts; it ends all that when the time is up, when it is told to, or when the
# channel closes. It uses no module, since the smallest perl has none. Its own environment is empty, and what the command
# gets is in no argument list and no file.
$SIG{PIPE} = 'IGNORE';
umask 022;
my ($out, $lost) = ("\0tenure-exec-1\0", 0);
sub put { $out .= pack('aN', $_[0], length $_[1]) . $_[1] unless $lost }
sub flush {
  while (length $out) {
    my $n = syswrite(STDOUT, $out, 65536);
    if (!defined $n) { last unless $! == 4 || $! == 11; my $w = ''; vec($w, 1, 1) = 1; select(undef, $w, undef, 1); next }
    substr($out, 0, $n, '');
  }
}
sub failed { put('F', join("\0", @_)); flush(); exit 0 }
sub slurp { open(my $f, '<', $_[0]) or return ''; my $b = ''; 1 while sysread($f, $b, 65536, length $b); $b }
sub uptime { (split ' ', slurp('/proc/uptime'))[0] }
sub take {
  my ($n, $b) = ($_[0], '');
  while (length $b < $n) {
    my $r = sysread(STDIN, $b, $n - length $b, length $b);
    next if !defined $r && $! == 4;
    exit 97 unless $r;
  }
  $b;
}
my ($id, $marker, $lock, $fence, $cwd, $timeout, $grace, $drain, $argc, @rest) = unpack('(N/a*)*', take(unpack 'N', take(4)));
my @argv = splice(@rest, 0, $argc);
my @env = @rest;
$_ /= 1000 for $timeout, $grace, $drain;

# The numbers of prctl, execve and setsid by the machine in the header of perl's own program.
my $elf = '';
if (open(my $f, '<', '/proc/self/exe')) { sysread($f, $elf, 20) }
my $machine = length $elf == 20 ? unpack(ord(substr($elf, 5, 1)) == 2 ? 'n' : 'v', substr($elf, 18, 2)) : 0;
my ($prctl, $execve, $setsid) = @{ {
  62 => [157, 59, 112], 183 => [167, 221, 157], 243 => [167, 221, 157], 258 => [167, 221, 157],
  3 => [172, 11, 66], 40 => [172, 11, 66], 22 => [172, 11, 66], 21 => [171, 11, 66],
}->{$machine} || [] };
my $reaper = $prctl && syscall($prctl, 36, 1, 0, 0, 0) == 0; # PR_SET_CHILD_SUBREAPER
syscall($prctl, 4, 0, 0, 0, 0) if $prctl;                    # PR_SET_DUMPABLE: the values above are nobody else's

# Whoever changes who holds the runtime has its lock alone; this has it until the command is executed, which closes it.
sub share {
  my $until = uptime() + 10;
  while (open(my $f, '<', $lock)) {
    until (flock($f, 5)) { # LOCK_SH | LOCK_NB
      return $f if $! != 11; # a file system without locks
      failed('runtime', 'runtime_busy', 'another process is at work on the runtime') if uptime() > $until;
      select(undef, undef, undef, 0.01);
    }
    my ($mine, $there) = ((stat $f)[1], (stat $lock)[1]);
    return $f if !defined $there || $mine == $there;
  }
  undef;
}
sub refused { # why the command may not run; nothing if it may
  return ('runtime', 'runtime_gone', 'the runtime is gone') unless -e $marker;
  my $m = slurp($marker);
  return ('fence', 'stale_fence', "the runtime is held with fence $1, newer than $fence") if $m =~ /"fence":(\d+)/ && $1 > $fence;
  return ('fence', 'stale_fence', 'the runtime was given back by its holder') if $m =~ /"kept":true/;
  ();
}
my $share = share();
my @refused = refused();
failed(@refused) if @refused;
pipe(my $ir, my $iw) && pipe(my $or, my $ow) && pipe(my $er, my $ew) && pipe(my $xr, my $xw)
  or failed('process', 'pipe', "$!");
my $pid = fork;
failed('process', 'fork_failed', "$!") unless defined $pid;
if (!$pid) {
  my $bad = sub { syswrite($xw, join "\0", @_); exit 0 };
  $setsid ? syscall($setsid) : setpgrp(0, 0);
  open(STDIN, '<&', $ir) && open(STDOUT, '>&', $ow) && open(STDERR, '>&', $ew) or $bad->('process', 'pipe', "$!");
  if (!chdir $cwd) { $bad->('cwd', $! == 2 ? 'cwd_not_found' : 'cwd_unusable', "$cwd: $!") }
  $SIG{$_} = 'DEFAULT' for grep { defined $SIG{$_} } keys %SIG;
  my $name = $argv[0];
  my ($path) = map { substr $_, 5 } grep { substr($_, 0, 5) eq 'PATH=' } @env;
  my @places = index($name, '/') >= 0 ? ($name) : map { ($_ eq '' ? '.' : $_) . "/$name" } split(/:/, $path, -1);
  my ($av, $ev) = (pack('p*', @argv, undef), pack('p*', @env, undef));
  my $refused;
  for my $at (@places) {
    if (-d $at) { $refused = 'is a directory'; next }
    if ($execve) { syscall($execve, $at, $av, $ev) }
    else { %ENV = map { split /=/, $_, 2 } @env; exec { $at } @argv }
    my $e = $! + 0;
    if ($e == 2 || $e == 20 || $e == 36) {
      next unless -e $at;
      $bad->('126', "$name: its interpreter or loader does not exist");
    }
    if ($e == 13) { $refused = "$!"; next }
    $bad->('environment', 'too_large', "arguments and environment are too large: $!") if $e == 7;
    $bad->('process', 'fork_failed', "$!") if $e == 11 || $e == 12 || $e == 23 || $e == 24;
    $bad->('126', "$name: not a program (a script needs a first line such as #!/bin/sh)") if $e == 8;
    $bad->('126', "$name: $!");
  }
  $bad->('126', "$name: $refused") if defined $refused;
  $bad->('127', index($name, '/') >= 0 ? "$name: no such file or directory" : "$name: command not found");
}
close $_ for $ir, $ow, $ew, $xw;
my $bad = '';
1 while sysread($xr, $bad, 65536, length $bad);
close $xr;
close $share if $share;
sub since { my $s = slurp("/proc/$_[0]/stat"); (split ' ', substr($s, rindex($s, ')') + 2))[19] }
my $started = join "\0", $pid, since($pid), slurp('/proc/sys/kernel/random/boot_id'), $$, since($$);
my @bad = split /\0/, $bad;
if (@bad == 2) { # it ran, and its program could not be executed
  waitpid($pid, 0);
  put('S', $started); put('2', "tenure: $bad[1]\n"); put('E', join "\0", 'exited', $bad[0], 0, 0);
  flush();
  exit 0;
}
if (@bad) { waitpid($pid, 0); failed(@bad) }

my ($main, $end, $killat) = (undef, '', 0); # the wait status; how we end it; when it has had its grace
# sweep ends whatever is left of the command and counts what cannot be ended.
sub sweep {
  my $until = uptime() + 5;
  for (;;) {
    my $none = 0;
    for (;;) {
      my $p = waitpid(-1, 1);
      if ($p == $pid) { $main = $? unless defined $main }
      if ($p <= 0) { $none = $p < 0; last }
    }
    return 0 if $none && $reaper;
    my @left;
    if ($reaper) {
      my %up;
      opendir(my $d, '/proc');
      for my $p (grep { /^\d+$/ } readdir $d) {
        my $s = slurp("/proc/$p/stat");
        my ($state, $parent) = split ' ', substr($s, rindex($s, ')') + 2);
        $up{$p} = $parent if defined $parent && $state ne 'Z';
      }
      for my $p (keys %up) {
        my $q = $p;
        $q = $up{$q} while defined $up{$q} && $q != $$;
        push @left, $p if $q == $$ && $p != $$;
      }
    } else {
      opendir(my $d, '/proc');
      for my $p (grep { /^\d+$/ && $_ != $$ } readdir $d) {
        push @left, $p if index("\0" . slurp("/proc/$p/environ"), "\0TENURE_EXEC_ID=$id\0") >= 0;
      }
      return 0 if $none && !@left;
    }
    kill 'KILL', -$pid, $pid unless defined $main;
    kill 'KILL', @left;
    return @left || 1 if uptime() > $until;
    select(undef, undef, undef, 0.003);
  }
}
# Where there are no locks: what changed meanwhile either is seen here, or who changed it ends the command.
@refused = refused();
if (@refused) { sweep(); failed(@refused) }
put('S', $started);

fcntl(STDOUT, 4, 2048); # O_NONBLOCK: neither the host's buffers nor the command may hold this process
fcntl($iw, 4, 2048);
my $pidfd = syscall(434, $pid, 0); # pidfd_open, on all machines; without it the command is looked at from time to time
my $exit;
if ($pidfd >= 0) { open($exit, '<&=', $pidfd) or undef $exit }
my ($stdin, $closing, $ctl) = ('', 0, '');
my $deadline = $timeout ? uptime() + $timeout : 0;
my $held = 0;
my $drainat = 0;

sub stop { # asks the command to end
  my ($how, $wait) = @_;
  return if defined $main;
  if ($end) { my $at = uptime() + $wait; $killat = $at if $at < $killat; return }
  ($end, $killat) = ($how, uptime() + $wait);
  kill 'TERM', $pid;
}
sub control { # takes what the engine says
  my $n = sysread(STDIN, $ctl, 262144, length $ctl);
  return if !defined $n && ($! == 4 || $! == 11);
  if (!$n) { $lost = 1; $out = ''; stop('killed', $grace); $drainat = 1 if $drainat; return }
  while (length $ctl >= 5) {
    my ($t, $len) = unpack 'aN', $ctl;
    last if length $ctl < 5 + $len;
    my $d = substr($ctl, 5, $len);
    substr($ctl, 0, 5 + $len, '');
    if ($t eq 'D') { if ($iw) { $stdin .= $d } else { put('A', pack 'N', $len) } }
    elsif ($t eq 'C') { $closing = 1 }
    elsif ($t eq 'K') { stop('killed', $d / 1000); $drainat = 1 if $drainat }
  }
}
sub copy { # moves output of the command; false at its end
  my ($from, $t) = @_;
  my $b;
  my $n = sysread($from, $b, 65536);
  return 1 if !defined $n && ($! == 4 || $! == 11);
  return 0 unless $n;
  put($t, $b);
  1;
}
for (;;) {
  my $now = uptime();
  my $next = 60;
  if (!defined $main) {
    stop('timeout', $grace) if $deadline && !$end && $now >= $deadline;
    last if $end && $now >= $killat;
    $next = $end ? $killat - $now : $deadline ? $deadline - $now : $next;
    $next = 0.02 if !$exit && $next > 0.02;
  } else {
    last if $end || !$or && !$er;
    if ($now >= $drainat) { $held = 1; last }
    $next = $drainat - $now;
  }
  if ($closing && $iw && !length $stdin) { close $iw; undef $iw }
  my ($r, $w) = ('', '');
  vec($r, 0, 1) = 1 unless $lost;
  vec($r, fileno $exit, 1) = 1 if $exit && !defined $main;
  if (length $out < 262144) { for ($or, $er) { vec($r, fileno $_, 1) = 1 if $_ } }
  vec($w, 1, 1) = 1 if length $out;
  vec($w, fileno $iw, 1) = 1 if $iw && length $stdin;
  select($r, $w, undef, $next < 0 ? 0 : $next + 0.005) < 0 and next;
  control() if !$lost && vec($r, 0, 1);
  if ($or && vec($r, fileno $or, 1)) { copy($or, '1') or undef $or }
  if ($er && vec($r, fileno $er, 1)) { copy($er, '2') or undef $er }
  if ($iw && vec($w, fileno $iw, 1)) {
    my $n = syswrite($iw, $stdin, 65536);
    if (defined $n) { substr($stdin, 0, $n, ''); put('A', pack 'N', $n) }
    elsif ($! != 4 && $! != 11) { # nobody reads it any more
      put('A', pack 'N', length $stdin);
      $stdin = '';
      close $iw;
      undef $iw;
    }
  }
  if (vec($w, 1, 1)) {
    my $n = syswrite(STDOUT, $out, 65536);
    if (defined $n) { substr($out, 0, $n, '') }
    elsif ($! != 4 && $! != 11) { ($lost, $out) = (1, ''); stop('killed', $grace) }
  }
  while ((my $p = waitpid(-1, 1)) > 0) { # orphans of the command are ours as well
    next if $p != $pid;
    $main = $?;
    undef $exit;
    $drainat = uptime() + $drain;
  }
}
my $own = $end ? '' : defined $main ? $main & 127 ? 'signaled' : 'exited' : '';
my $code = $own eq 'signaled' ? $main & 127 : $own ? $main >> 8 : 0;
my $left = sweep();
# Whatever held the output is dead; what it wrote is still in the pipes.
my $until = uptime() + 1;
while (($or || $er) && uptime() < $until) {
  my $r = '';
  for ($or, $er) { vec($r, fileno $_, 1) = 1 if $_ }
  next if select($r, undef, undef, 0.2) <= 0;
  if ($or && vec($r, fileno $or, 1)) { copy($or, '1') or undef $or }
  if ($er && vec($r, fileno $er, 1)) { copy($er, '2') or undef $er }
  flush();
}
$held = 1 if $or || $er;
put('E', join "\0", $own || $end, $code, $left, $held);
flush();
exit 0;
