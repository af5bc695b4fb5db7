package ssh

import (
	"bytes"
	"context"
	_ "embed" // the parent of a command
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/journal"
)

//go:embed runner.pl
var runner string

// loader reads as many bytes of Perl as its argument says, and runs them. It stands in single quotes, in which no login
// shell gives a meaning to what it consists of.
const loader = `while(length($s)<$ARGV[0]){sysread(STDIN,$s,$ARGV[0]-length($s),length($s))||exit 97}eval $s;print STDERR $@;exit 98`

const (
	// stdinWindow is how much of a command's stdin may be on its way before the command has read it.
	stdinWindow = 1 << 20
	stdinChunk  = 32 << 10
	// maxNoise bounds what a login shell may print before the parent speaks.
	maxNoise = 64 << 10
	// maxFrame bounds what the parent says at once.
	maxFrame = 1 << 20
	// endLimit is what an end may take beyond its grace before it is brought about another way.
	endLimit = 15 * time.Second
)

// spec is what to run.
type spec struct {
	req    drivers.ExecRequest
	env    []drivers.EnvVar
	marker string
	drain  time.Duration
}

// process is a command on a host. It implements [drivers.Exec].
type process struct {
	driver  *Driver
	pool    *pool
	pins    []string
	spec    spec
	journal *journal.Writer
	ch      *channel
	who     drivers.Process
	noise   tail

	mu      sync.Mutex // of what is written to the channel
	killWhy string
	killed  bool

	credit chan int
	done   chan struct{}
	result drivers.ExecResult // valid once done is closed
}

// began is the parent's first word.
type began struct {
	err error
	// unsure says that the command may run all the same.
	unsure bool
}

// begin starts the command and returns once it runs. Its error means that it does not.
func (s *process) begin(ctx context.Context) error {
	t, err := s.pool.toolsOf(ctx, s.pins)
	if err != nil {
		return cancelOr(ctx, notStarted(err))
	}
	if s.ch, err = s.pool.channel(ctx, s.pins); err != nil {
		return cancelOr(ctx, notStarted(err))
	}
	command := "exec env -i " + t.perl + " -e '" + loader + "' " + strconv.Itoa(len(runner))
	if err := s.ch.start(ctx, command); err != nil {
		return cancelOr(ctx, notStarted(err))
	}
	s.credit = make(chan int, 64)
	first := make(chan began, 1)
	go s.follow(first)
	go func() {
		_, _ = io.Copy(&s.noise, s.ch.Stderr())
	}()
	stdin := s.spec.req.Stdin
	if err := s.send([]byte(runner), s.spec.encode()); err != nil {
		// Less than the whole spec arrived, so nothing can have been started.
		_ = s.ch.Close()
		<-s.done
		return notStarted(failedAt(phaseStart, "link_lost", errLinkLost))
	}
	s.spec.env, s.spec.req.Env, s.spec.req.Stdin = nil, nil, nil // secrets are not kept for the life of the command
	go s.feed(stdin)
	select {
	case b := <-first:
		if b.err != nil {
			<-s.done
		}
		return b.err
	case <-ctx.Done():
		_ = s.kill("canceled", 0)
		limit := time.AfterFunc(endLimit, func() { _ = s.ch.Close() })
		defer limit.Stop()
		<-s.done
		return context.Cause(ctx)
	}
}

func cancelOr(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// encode is the spec as the parent reads it: its length, then fields that each have their length before them.
func (s spec) encode() []byte {
	var b []byte
	field := func(text string) {
		b = binary.BigEndian.AppendUint32(b, uint32(len(text)))
		b = append(b, text...)
	}
	ms := func(d time.Duration) {
		n := d.Milliseconds()
		if d > 0 && n == 0 {
			n = 1
		}
		field(strconv.FormatInt(n, 10))
	}
	field(s.req.ExecID)
	field(s.marker)
	field(s.req.Cwd)
	ms(s.req.Timeout)
	ms(s.req.Grace)
	ms(s.drain)
	field(strconv.Itoa(len(s.req.Argv)))
	for _, arg := range s.req.Argv {
		field(arg)
	}
	for _, v := range s.env {
		field(v.Name + "=" + v.Value)
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)
}

func (s *process) send(parts ...[]byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range parts {
		if _, err := s.ch.Write(p); err != nil {
			return err
		}
	}
	return nil
}

func frame(kind byte, data []byte) []byte {
	b := binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(data)))
	return append(b, data...)
}

// feed sends the command's stdin, no faster than it is read, so that the parent can always be told to end it.
func (s *process) feed(stdin []byte) {
	window := stdinWindow
	for len(stdin) > 0 {
		n := min(len(stdin), stdinChunk)
		for window < n {
			select {
			case freed := <-s.credit:
				window += freed
			case <-s.done:
				return
			}
		}
		if s.send(frame('D', stdin[:n])) != nil {
			return
		}
		window -= n
		stdin = stdin[n:]
	}
	_ = s.send(frame('C', nil)) // a broken channel is noticed by who reads it
	for {
		select {
		case <-s.credit:
		case <-s.done:
			return
		}
	}
}

// follow reads what the parent says until the channel ends, and closes the command's books.
func (s *process) follow(first chan<- began) {
	end, err := s.read(first)
	if err != nil {
		_ = s.ch.Close() // it speaks nonsense
	}
	<-s.ch.ended
	s.settle(end, first)
	close(s.done)
}

// end is the parent's last word.
type end struct {
	how       string
	code      int
	leftovers int
	held      bool
}

// magic precedes the parent's first frame. A login shell may print before.
var magic = []byte("\x00tenure-exec-1\x00")

func (s *process) read(first chan<- began) (*end, error) {
	in, err := s.skipNoise()
	if err != nil {
		return nil, err
	}
	var last *end
	head := make([]byte, 5)
	var data []byte
	for {
		if _, err := io.ReadFull(in, head); err != nil {
			return last, nil
		}
		n := binary.BigEndian.Uint32(head[1:])
		if n > maxFrame {
			return last, fmt.Errorf("a frame of %d bytes", n)
		}
		if uint32(cap(data)) < n {
			data = make([]byte, n)
		}
		data = data[:n]
		if _, err := io.ReadFull(in, data); err != nil {
			return last, nil
		}
		switch head[0] {
		case '1':
			s.journal.Append(journal.Stdout, data)
		case '2':
			s.journal.Append(journal.Stderr, data)
		case 'A':
			if len(data) == 4 {
				select {
				case s.credit <- int(binary.BigEndian.Uint32(data)):
				case <-s.done:
				}
			}
		case 'S':
			if s.who, err = parseProcess(data); err != nil {
				return last, err
			}
			first <- began{}
		case 'F':
			first <- began{err: startFailed(data)}
		case 'E':
			if last, err = parseEnd(data); err != nil {
				return nil, err
			}
		}
	}
}

// skipNoise returns what comes after the magic.
func (s *process) skipNoise() (io.Reader, error) {
	var seen []byte
	buf := make([]byte, 4096)
	for {
		n, err := s.ch.Read(buf)
		seen = append(seen, buf[:n]...)
		if before, after, ok := bytes.Cut(seen, magic); ok {
			_, _ = s.noise.Write(before)
			return io.MultiReader(bytes.NewReader(after), s.ch), nil
		}
		if err == nil && len(seen) > maxNoise {
			err = errors.New("the login shell does not stop to print")
		}
		if err != nil {
			_, _ = s.noise.Write(seen)
			return nil, err
		}
	}
}

func parseProcess(data []byte) (drivers.Process, error) {
	parts := strings.Split(strings.TrimSpace(string(data)), "\x00")
	if len(parts) != 3 {
		return drivers.Process{}, errors.New("no process")
	}
	pid, err1 := strconv.Atoi(parts[0])
	start, err2 := strconv.ParseUint(parts[1], 10, 64)
	return drivers.Process{PID: pid, StartTime: start, BootID: parts[2]}, errors.Join(err1, err2)
}

func startFailed(data []byte) error {
	parts := strings.SplitN(string(data), "\x00", 3)
	for len(parts) < 3 {
		parts = append(parts, "")
	}
	f := &drivers.StartError{Stage: parts[0], Code: parts[1], Err: errors.New(clip(parts[2], 4096))}
	switch f.Code {
	case "runtime_gone":
		f.Err, f.Remediation = drivers.ErrGone, "acquire a new lease"
	case "cwd_not_found", "cwd_unusable":
		f.Remediation = "name a directory that exists and that the command's user may enter"
	case "too_large":
		f.Remediation = "pass large data on stdin or in a file"
	}
	return f
}

func parseEnd(data []byte) (*end, error) {
	parts := strings.Split(string(data), "\x00")
	if len(parts) != 4 {
		return nil, errors.New("no end")
	}
	code, err1 := strconv.Atoi(parts[1])
	left, err2 := strconv.Atoi(parts[2])
	return &end{how: parts[0], code: code, leftovers: left, held: parts[3] == "1"}, errors.Join(err1, err2)
}

// settle says how the command ended. Only the parent's last word together with the server's own, that the parent exited
// as it should, is an end; anything less is unknown.
func (s *process) settle(e *end, first chan<- began) {
	r := drivers.ExecResult{}
	state := drivers.OutputComplete
	known := e != nil && s.ch.end.status && s.ch.end.code == 0
	if known {
		r.ExitCode, r.Leftovers = e.code, e.leftovers
		if e.held {
			state = drivers.OutputAbandoned
		}
		switch e.how {
		case "exited":
			r.End = drivers.ExecExited
		case "signaled":
			r.End, r.ExitCode, r.Signal = drivers.ExecSignaled, 0, signalName(e.code)
		case "timeout":
			r.End, r.ExitCode = drivers.ExecTimedOut, 0
		default:
			r.End, r.ExitCode, r.Why = drivers.ExecKilled, 0, s.whyKilled()
		}
	} else {
		r.End, r.Why = drivers.ExecUnknown, s.whyUnknown()
		state = drivers.OutputLost
	}
	seal, err := s.journal.Seal(state)
	if err != nil {
		seal.State = drivers.OutputLost
	}
	r.Output = seal
	s.result = r
	_ = first
}

func (s *process) whyUnknown() string {
	switch {
	case s.ch.lost():
		return "link_lost"
	case !s.ch.end.status && s.ch.end.signal == "":
		return "no_exit_status"
	default:
		return "parent_gone"
	}
}

func (s *process) whyKilled() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.killWhy == "" {
		return "engine_gone"
	}
	return s.killWhy
}

func signalName(n int) string {
	if name := unix.SignalName(syscall.Signal(n)); name != "" {
		return name
	}
	return "SIG" + strconv.Itoa(n)
}

// Process implements [drivers.Exec].
func (s *process) Process() drivers.Process { return s.who }

// Wait implements [drivers.Exec].
func (s *process) Wait(ctx context.Context) (drivers.ExecResult, error) {
	select {
	case <-s.done:
		return s.result, nil
	default:
	}
	select {
	case <-s.done:
		return s.result, nil
	case <-ctx.Done():
		return drivers.ExecResult{}, context.Cause(ctx)
	}
}

// Kill implements [drivers.Exec].
func (s *process) Kill(_ context.Context, why string) error {
	return s.kill(why, s.spec.req.Grace)
}

func (s *process) kill(why string, grace time.Duration) error {
	select {
	case <-s.done:
		return nil
	default:
	}
	s.mu.Lock()
	if s.killWhy == "" {
		s.killWhy = why
	}
	s.mu.Unlock()
	_ = s.send(frame('K', []byte(strconv.FormatInt(grace.Milliseconds(), 10)))) // a broken channel ends the command as well
	return nil
}

// tail keeps the last words that are not for us.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	const most = 2048
	t.b = append(t.b, p...)
	if len(t.b) > most {
		t.b = append(t.b[:0], t.b[len(t.b)-most:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.b))
}

var _ drivers.Exec = (*process)(nil)
