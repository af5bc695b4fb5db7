package execparent

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/journal"
)

// Link is a connection to a process that calls [MainLinked]: Read is from its standard output, Write to its standard
// input. Close ends both at once, also under a call of the others.
type Link interface {
	io.ReadWriteCloser
	// Words are the last ones of its standard error.
	Words() string
}

// AwaitParent returns once the parent at the other end of a link that was just dialed runs. The link that it returns is for
// [StartLinked]; l is closed if there is an error.
func AwaitParent(ctx context.Context, l Link) (Link, error) {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	var header [frameHeader]byte
	n, err := io.ReadFull(l, header[:])
	if !stop() {
		return nil, context.Cause(ctx)
	}
	if err == nil && header[0] == frameBeat {
		return l, nil
	}
	// It says that it cannot, or ended: that is for whoever reads on.
	return begun{l, io.MultiReader(bytes.NewReader(header[:n]), l)}, nil
}

// begun is a link of which something was read already.
type begun struct {
	Link
	r io.Reader
}

func (b begun) Read(p []byte) (int, error) { return b.r.Read(p) }

// LinkOptions say how to reach a parent and what to make of it.
type LinkOptions struct {
	// Dial starts the parent. ctx bounds the dialing only. Its error should be a [*drivers.StartError].
	Dial func(ctx context.Context) (Link, error)
	// Silence is after how long without a word either end takes the other for gone: the link is lost then, and the parent
	// ends the command. 0 is 45 s.
	Silence time.Duration
	// Locate, if set, names a process of the parent's machine as it is called on this one.
	Locate func(ctx context.Context, there drivers.Process) drivers.Process
	// Lost, if set, says in a word why the link ended before the command did; "" is no better answer than "link_lost".
	Lost func(err error) string
	// Ended, if set, is called once when the link is closed, also if the command did not start.
	Ended func()
}

// Linked is a command under a parent at the other end of a link. It implements [drivers.Exec].
type Linked struct {
	opts    LinkOptions
	journal *journal.Writer
	link    Link
	process drivers.Process

	requests chan control
	done     chan struct{}
	result   drivers.ExecResult // valid once done is closed
}

// StartLinked runs a command over a link and returns once it runs. Its error is a [*drivers.StartError]; then nothing runs.
// If ctx ends first, whatever was started is told to end and the error is ctx's cause. The output is kept on this side, in
// spec.JournalDir. A link that ends before the command makes its end unknown, and the parent then ends the command.
func StartLinked(ctx context.Context, opts LinkOptions, spec Spec) (*Linked, error) {
	w, err := journal.Create(spec.JournalDir, journal.Options{})
	if err != nil {
		return nil, journal.Unusable(err)
	}
	p := &Linked{opts: opts, journal: w, requests: make(chan control, 1), done: make(chan struct{})}
	if p.link, err = opts.Dial(ctx); err != nil {
		_, sealErr := w.Seal(drivers.OutputComplete) // so that nobody follows it
		p.ended()
		return nil, errors.Join(err, sealErr)
	}
	if p.opts.Silence <= 0 {
		p.opts.Silence = silenceLimit
	}
	spec.silence = p.opts.Silence
	var head bytes.Buffer
	if err := writeSpec(&head, spec); err != nil {
		_, sealErr := w.Seal(drivers.OutputComplete)
		err = errors.Join(err, sealErr, p.link.Close())
		p.ended()
		return nil, parentFailed("spec", err)
	}
	first := make(chan first, 1)
	writing := make(chan struct{})
	go func() {
		defer close(writing)
		p.speak(head.Bytes())
	}()
	go func() {
		p.finish(p.converse(first))
		_ = p.link.Close()
		<-writing
		p.ended()
	}()
	select {
	case f := <-first:
		if f.err != nil {
			<-p.done
			return nil, f.err
		}
		p.process = f.process
		if opts.Locate != nil {
			p.process = opts.Locate(ctx, f.process)
		}
		return p, nil
	case <-ctx.Done():
		select {
		case p.requests <- control{Kill: &killRequest{Why: "canceled", Now: true}}:
		case <-p.done:
		}
		p.awaitOrHangUp()
		return nil, context.Cause(ctx)
	}
}

// cancelLimit bounds the wait for a parent that was told to end before anybody heard that it had begun. Hanging up ends it
// as well, only not while somebody waits.
const cancelLimit = 2 * time.Second

// first is how a start ended.
type first struct {
	process drivers.Process
	err     error
}

func (p *Linked) ended() {
	if p.opts.Ended != nil {
		p.opts.Ended()
	}
}

// awaitOrHangUp gives a parent that was told to end the time for it.
func (p *Linked) awaitOrHangUp() {
	limit := time.NewTimer(cancelLimit)
	defer limit.Stop()
	select {
	case <-p.done:
	case <-limit.C:
		_ = p.link.Close()
		<-p.done
	}
}

// speak writes the spec, then control lines and signs of life, until the command has ended. An error of the link is found
// by who reads.
func (p *Linked) speak(head []byte) {
	if _, err := p.link.Write(head); err != nil {
		return
	}
	clear(head) // the secrets are not kept for the life of the command
	tick := time.NewTicker(p.opts.Silence / beats)
	defer tick.Stop()
	for {
		var c control
		select {
		case <-p.done:
			return
		case c = <-p.requests:
		case <-tick.C:
		}
		b, err := json.Marshal(c)
		if err != nil {
			return
		}
		if _, err := p.link.Write(append(b, '\n')); err != nil {
			return
		}
	}
}

// converse reads frames until the result. Its error is why there is none.
func (p *Linked) converse(begun chan<- first) error {
	var silent error
	var mu sync.Mutex
	watch := time.AfterFunc(p.opts.Silence, func() {
		mu.Lock()
		silent = errSilent
		mu.Unlock()
		_ = p.link.Close()
	})
	defer watch.Stop()
	started := false
	err := p.frames(watch, func(s status) (bool, error) {
		switch {
		case s.StartFailed != nil && !started:
			f := s.StartFailed
			begun <- first{err: &drivers.StartError{Stage: f.Stage, Code: f.Code, Remediation: f.Remediation, Err: f}}
			return true, errNotStarted
		case s.Started != nil && !started:
			started = true
			begun <- first{process: *s.Started}
			return false, nil
		case s.Result != nil && started && s.Result.End != "":
			p.result = *s.Result
			return true, nil
		}
		return true, errors.New("the exec parent spoke out of turn")
	})
	if err == nil || errors.Is(err, errNotStarted) {
		return err
	}
	mu.Lock()
	if silent != nil {
		err = silent
	}
	mu.Unlock()
	if errors.Is(err, io.EOF) {
		err = errors.New("the exec parent ended without a word")
	}
	if words := p.link.Words(); words != "" {
		err = fmt.Errorf("%w: %s", err, words)
	}
	if !started {
		begun <- first{err: parentFailed("answer", err)}
		return errNotStarted
	}
	return err
}

var (
	errSilent     = errors.New("the exec parent said nothing for too long")
	errNotStarted = errors.New("the command did not start")
)

// frames journals the output and passes each status to on, until that is done.
func (p *Linked) frames(watch *time.Timer, on func(status) (bool, error)) error {
	r := bufio.NewReaderSize(p.link, 64*1024)
	var buf []byte
	for {
		kind, data, err := readFrame(r, &buf)
		if err != nil {
			return err
		}
		watch.Reset(p.opts.Silence)
		switch kind {
		case frameStdout:
			p.journal.Append(journal.Stdout, data)
		case frameStderr:
			p.journal.Append(journal.Stderr, data)
		case frameBeat:
		case frameStatus:
			var s status
			if err := json.Unmarshal(data, &s); err != nil {
				return err
			}
			if done, err := on(s); done || err != nil {
				return err
			}
		default:
			return errors.New("the exec parent sent a frame of an unknown kind")
		}
	}
}

// finish settles the result.
func (p *Linked) finish(lost error) {
	defer close(p.done)
	sent := p.result.Output
	state := sent.State
	switch {
	case errors.Is(lost, errNotStarted):
		state = drivers.OutputComplete
	case lost != nil:
		why := ""
		if p.opts.Lost != nil {
			why = p.opts.Lost(lost)
		}
		if why == "" {
			why = "link_lost"
		}
		p.result = drivers.ExecResult{End: drivers.ExecUnknown, Why: why}
		state = drivers.OutputLost
	case state != drivers.OutputComplete && state != drivers.OutputAbandoned:
		state = drivers.OutputLost
	}
	seal, err := p.journal.Seal(state)
	if err != nil {
		seal.State = drivers.OutputLost
	}
	p.result.Output = seal
	if lost == nil && (seal.Stdout.Bytes != sent.Stdout.Bytes || seal.Stderr.Bytes != sent.Stderr.Bytes) {
		// What the parent counted did not all come through, so nothing that came over this link is to be believed.
		p.result = drivers.ExecResult{End: drivers.ExecUnknown, Why: "output_lost", Output: seal}
	}
}

// Process implements [drivers.Exec].
func (p *Linked) Process() drivers.Process { return p.process }

// Done is closed when the command has ended and its output is sealed.
func (p *Linked) Done() <-chan struct{} { return p.done }

// Wait implements [drivers.Exec].
func (p *Linked) Wait(ctx context.Context) (drivers.ExecResult, error) {
	select {
	case <-p.done:
		return p.result, nil
	default:
	}
	select {
	case <-p.done:
		return p.result, nil
	case <-ctx.Done():
		return drivers.ExecResult{}, context.Cause(ctx)
	}
}

// Kill implements [drivers.Exec]. It returns when the request is on its way; Wait tells when the command has ended.
func (p *Linked) Kill(ctx context.Context, why string) error {
	select {
	case p.requests <- control{Kill: &killRequest{Why: why}}:
		return nil
	case <-p.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("kill command: %w", context.Cause(ctx))
	}
}

var _ drivers.Exec = (*Linked)(nil)
