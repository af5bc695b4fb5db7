package ssh

import (
	"bufio"
	"bytes"
	"context"
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
	// ending is the end that was brought about over another channel; swept says that it worked, cut that the channel was
	// closed over it, held that something held the output of a command without a parent.
	ending           drivers.ExecEnd
	swept, cut, held bool
	brought          chan struct{} // closed when swept is valid

	// raw says that the command has no parent: its output is the channel's own.
	raw    bool
	credit chan int
	first  chan error
	told   bool // only follow looks at it
	done   chan struct{}
	result drivers.ExecResult // valid once done is closed
}

// Done is closed when it has ended.
func (s *process) Done() <-chan struct{} { return s.done }

// begin starts the command and returns once it runs. Its error means that it does not.
func (s *process) begin(ctx context.Context) error {
	t, err := s.pool.toolsOf(ctx, s.pins)
	if err != nil {
		return cancelOr(ctx, notStarted(err))
	}
	l, err := s.spec.launch(t)
	if err != nil {
		return err
	}
	if s.ch, err = s.pool.channel(ctx, s.pins); err != nil {
		return cancelOr(ctx, notStarted(err))
	}
	if err := s.ch.start(ctx, l.command); err != nil {
		return cancelOr(ctx, notStarted(err))
	}
	s.raw = !l.parent
	s.credit = make(chan int, 64)
	s.first = make(chan error, 1)
	go s.follow()
	stdin := s.spec.req.Stdin
	if err := s.send(l.input); err != nil {
		// Less than the whole spec arrived, so nothing can have been started.
		_ = s.ch.Close()
		<-s.done
		return notStarted(failedAt(phaseStart, "link_lost", errLinkLost))
	}
	s.spec.env, s.spec.req.Env, s.spec.req.Stdin = nil, nil, nil // secrets are not kept for the life of the command
	if s.raw {
		go s.pour(stdin)
	} else {
		go s.feed(stdin)
	}
	select {
	case err := <-s.first:
		if err != nil {
			<-s.done
			return err
		}
		s.watchTime()
		return nil
	case <-ctx.Done():
		s.kill("canceled", 0)
		limit := time.AfterFunc(endLimit, func() { _ = s.ch.Close() })
		defer limit.Stop()
		<-s.done
		return context.Cause(ctx)
	}
}

// tell says, once, whether the command runs.
func (s *process) tell(err error) {
	if !s.told {
		s.told = true
		s.first <- err
	}
}

// watchTime ends a command whose time is up. A parent does that by itself, so it gets some more to do it.
func (s *process) watchTime() {
	limit := s.spec.req.Timeout
	if limit <= 0 {
		return
	}
	if !s.raw {
		limit += s.spec.req.Grace + endLimit
	}
	timer := time.AfterFunc(limit, func() { s.bringDown(drivers.ExecTimedOut, s.spec.req.Grace) })
	go func() {
		<-s.done
		timer.Stop()
	}()
}

// bringDown ends the command over another channel: the parent, if there is one, does not answer.
func (s *process) bringDown(how drivers.ExecEnd, grace time.Duration) {
	s.mu.Lock()
	first := s.ending == ""
	if first {
		s.ending = how
	}
	s.mu.Unlock()
	if !first {
		return
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), grace+endLimit, errors.New("the command does not end"))
	defer cancel()
	err := s.sweep(ctx, grace)
	s.mu.Lock()
	s.swept = err == nil
	s.mu.Unlock()
	close(s.brought)
	limit := time.NewTimer(s.spec.drain)
	defer limit.Stop()
	select {
	case <-s.ch.ended:
	case <-limit.C:
		_ = s.ch.Close()
		s.mu.Lock()
		s.cut = true
		s.mu.Unlock()
	}
}

// sweep ends the main process, with its grace, and everything that has the command's id in its environment.
func (s *process) sweep(ctx context.Context, grace time.Duration) error {
	_, err := s.pool.run(ctx, s.pins, stopScript, variable{"own", execVar + "=" + s.spec.req.ExecID},
		variable{"pid", strconv.Itoa(s.who.PID)}, variable{"start", strconv.FormatUint(s.who.StartTime, 10)},
		variable{"grace", strconv.FormatInt(grace.Milliseconds(), 10)})
	return err
}

func cancelOr(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
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

// pour sends stdin to a command that has no parent.
func (s *process) pour(stdin []byte) {
	for len(stdin) > 0 {
		n := min(len(stdin), stdinChunk)
		if s.send(stdin[:n]) != nil {
			return // it has ended, or closed its stdin
		}
		stdin = stdin[n:]
	}
	_ = s.ch.CloseWrite()
}

// follow reads what comes from the command until the channel ends, and closes the command's books.
func (s *process) follow() {
	errs := make(chan struct{})
	go func() {
		defer close(errs)
		s.readStderr()
	}()
	var last *end
	in, err := s.skipNoise(s.ch)
	spoke := err == nil
	if spoke && s.raw {
		err = s.readRaw(in)
	} else if spoke {
		last, err = s.read(in)
	}
	if err != nil {
		_ = s.ch.Close() // it speaks nonsense, or not at all
	}
	<-errs
	<-s.ch.ended
	s.mu.Lock()
	ending := s.ending
	s.mu.Unlock()
	if ending != "" {
		<-s.brought
	}
	switch {
	case s.told:
	case !spoke && s.ch.end.status:
		s.pool.forget() // the host may have lost the program that it had
		s.tell(&drivers.StartError{
			Stage: "process", Code: "no_shell", Remediation: "give the user a login shell that runs commands, with env and sh in its PATH",
			Err: fmt.Errorf("the account did not start the parent of the command (exit code %d): %q", s.ch.end.code, clip(s.noise.String(), 200)),
		})
	default:
		s.tell(nil) // nobody can say that it did not start: its end is unknown
	}
	s.settle(last)
	close(s.done)
}

// readStderr takes the channel's second stream: the parent's own complaints, or the command's where there is no parent.
func (s *process) readStderr() {
	if !s.raw {
		_, _ = io.Copy(&s.noise, s.ch.Stderr())
		return
	}
	in, err := s.skipNoise(s.ch.Stderr())
	if err != nil {
		return
	}
	copyTo(s.journal, journal.Stderr, in)
}

func copyTo(w *journal.Writer, stream journal.Stream, in io.Reader) {
	buf := make([]byte, 64<<10)
	for {
		n, err := in.Read(buf)
		w.Append(stream, buf[:n])
		if err != nil {
			return
		}
	}
}

// readRaw reads the first line of a launcher and then the command's own output.
func (s *process) readRaw(in io.Reader) error {
	r := bufio.NewReaderSize(in, 64<<10)
	line, err := r.ReadString('\n')
	if err != nil {
		return err
	}
	runs, err := s.readHead(line)
	if runs {
		s.drainRaw()
		copyTo(s.journal, journal.Stdout, r)
	}
	return err
}

// readHead reads what a launcher says before it becomes the command. It reports whether it does.
func (s *process) readHead(line string) (runs bool, err error) {
	kind, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
	if kind == "F" {
		s.tell(startFailed([]byte(strings.ReplaceAll(rest, "\t", "\x00"))))
		return false, nil
	}
	if s.who, err = parseProcess([]byte(strings.ReplaceAll(rest, " ", "\x00"))); err != nil {
		return false, err
	}
	s.tell(nil)
	return true, nil
}

// drainRaw bounds the wait for output after the command's main process has exited.
func (s *process) drainRaw() {
	go func() {
		select {
		case <-s.ch.reported:
		case <-s.ch.ended:
			return
		}
		timer := time.NewTimer(s.spec.drain)
		defer timer.Stop()
		select {
		case <-s.ch.ended:
			return
		case <-timer.C:
		}
		s.mu.Lock()
		s.held = true
		s.mu.Unlock()
		ctx, cancel := context.WithTimeoutCause(context.Background(), endLimit, errors.New("the command's children do not end"))
		defer cancel()
		if s.sweep(ctx, 0) != nil {
			_ = s.ch.Close()
		}
	}()
}

// end is the parent's last word.
type end struct {
	how       string
	code      int
	signal    string
	leftovers int
	held      bool
}

// magic precedes the parent's first frame. A login shell may print before.
var magic = []byte("\x00tenure-exec-1\x00")

func (s *process) read(in io.Reader) (*end, error) {
	var err error
	var last *end
	head := make([]byte, 5)
	var data []byte
	for {
		if _, err := io.ReadFull(in, head); err != nil {
			return last, nil //nolint:nilerr // the end of the channel; what it means depends on what was said before
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
			return last, nil //nolint:nilerr // as above
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
			s.tell(nil)
		case 'F':
			s.tell(startFailed(data))
		case 'E':
			if last, err = parseEnd(data); err != nil {
				return nil, err
			}
		}
	}
}

// skipNoise returns what comes after the magic.
func (s *process) skipNoise(from io.Reader) (io.Reader, error) {
	var seen []byte
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		seen = append(seen, buf[:n]...)
		if before, after, ok := bytes.Cut(seen, magic); ok {
			_, _ = s.noise.Write(before)
			return io.MultiReader(bytes.NewReader(after), from), nil
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
	return &end{how: parts[0], code: code, signal: signalName(code), leftovers: left, held: parts[3] == "1"}, errors.Join(err1, err2)
}

// settle says how the command ended. Only the parent's last word together with the server's own, that the parent exited
// as it should, is an end; anything less is unknown. Where there is no parent the server's word is all there is.
func (s *process) settle(e *end) {
	if s.raw {
		e = s.rawEnd()
	} else if !s.ch.end.status || s.ch.end.code != 0 {
		e = nil
	}
	s.mu.Lock()
	ending, swept, cut, why := s.ending, s.swept, s.cut, s.killWhy
	s.mu.Unlock()
	r := drivers.ExecResult{}
	state := drivers.OutputComplete
	switch {
	case e != nil && e.held, cut:
		state = drivers.OutputAbandoned
	case e == nil:
		state = drivers.OutputLost
	}
	switch {
	case e == nil && ending != "" && swept:
		r.End = ending
	case e == nil:
		r.End, r.Why = drivers.ExecUnknown, s.whyUnknown()
	case e.how == "exited":
		r.End, r.ExitCode, r.Leftovers = drivers.ExecExited, e.code, e.leftovers
	case e.how == "signaled":
		r.End, r.Signal, r.Leftovers = drivers.ExecSignaled, e.signal, e.leftovers
	case e.how == "timeout":
		r.End, r.Leftovers = drivers.ExecTimedOut, e.leftovers
	default:
		r.End, r.Leftovers = drivers.ExecKilled, e.leftovers
	}
	if r.End == drivers.ExecKilled {
		if r.Why = why; why == "" {
			r.Why = "engine_gone"
		}
	}
	if (e == nil || s.raw) && s.told && s.who.PID != 0 && !swept {
		s.sweepAfter(&r)
	}
	seal, err := s.journal.Seal(state)
	if err != nil {
		seal.State = drivers.OutputLost
	}
	r.Output = seal
	s.result = r
}

// rawEnd is the end of a command without a parent; nil if the server did not say.
func (s *process) rawEnd() *end {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := &end{held: s.held, code: s.ch.end.code, signal: "SIG" + s.ch.end.signal}
	said := s.ch.end.status || s.ch.end.signal != ""
	switch {
	case s.ending == drivers.ExecTimedOut && (s.swept || said):
		e.how = "timeout"
	case s.ending != "" && (s.swept || said):
		e.how = "killed"
	case s.ch.end.signal != "":
		e.how = "signaled"
	case s.ch.end.status:
		e.how = "exited"
	default:
		return nil
	}
	return e
}

// sweepAfter ends what a command left behind that had no parent, or lost it. Over a broken link that has to wait for the
// release.
func (s *process) sweepAfter(r *drivers.ExecResult) {
	if s.ch.lost() {
		return
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), endLimit, errors.New("the command's children do not end"))
	defer cancel()
	if s.sweep(ctx, 0) != nil {
		r.Leftovers = 1 // at least: nobody could look
	}
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

// Kill implements [drivers.Exec]. It returns when the request is on its way; Wait tells when the command has ended.
func (s *process) Kill(_ context.Context, why string) error {
	s.kill(why, s.spec.req.Grace)
	return nil
}

func (s *process) kill(why string, grace time.Duration) {
	select {
	case <-s.done:
		return
	default:
	}
	s.mu.Lock()
	again := s.killWhy != ""
	if !again {
		s.killWhy = why
	}
	s.mu.Unlock()
	if again && grace > 0 {
		return
	}
	go func() {
		if s.raw {
			s.bringDown(drivers.ExecKilled, grace)
			return
		}
		// A link that is broken ends the command as well, and a parent that does not answer is gone round.
		answered := make(chan struct{})
		go func() {
			_ = s.sendFrame('K', strconv.FormatInt(grace.Milliseconds(), 10))
			close(answered)
		}()
		limit := time.NewTimer(grace + endLimit)
		defer limit.Stop()
		select {
		case <-s.done:
		case <-limit.C:
			s.bringDown(drivers.ExecKilled, 0)
		}
		<-answered
	}()
}

func (s *process) sendFrame(kind byte, data string) error { return s.send(frame(kind, []byte(data))) }

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
