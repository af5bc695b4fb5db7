package execparent

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/journal"
)

// A parent that is not on the engine's machine, or not in its name spaces, has no pipes of the engine and no journal
// directory. It is given the spec, stdin and control lines on its standard input, as a local parent on its pipe, and
// answers on its standard output in frames: a kind, a length (32 bits, big-endian), that many bytes.
const (
	frameStatus = 's' // one status as JSON
	frameStdout = '1'
	frameStderr = '2'
	frameBeat   = 'b' // empty: the parent lives

	frameHeader = 5
	// maxFrame bounds what a reader accepts; data frames are as large as one read of a pipe.
	maxFrame = 256 * 1024
)

const (
	// silenceLimit is after how much silence an end takes the other for gone, unless the engine says otherwise.
	silenceLimit = 45 * time.Second
	// beats is how often both ends say within that time that they live.
	beats = 9
	// lingerLimit bounds how long a parent that has sent its result waits for the engine to hang up. Until then its
	// process can be looked at.
	lingerLimit = 5 * time.Second
)

// MainLinked is [Main] for a parent at the other end of a [Link]: it speaks on its standard input and output. It must be in
// a process of its own; what it needs of the system is /proc.
func MainLinked() int {
	runtime.GOMAXPROCS(2)
	ReserveThreads(12)
	out := &linkWriter{w: os.Stdout}
	if err := prepareLinked(); err != nil {
		out.status(startFailedBy("parent", "prepare", err))
		return 1
	}
	out.frame(frameBeat, nil) // the engine may want to know that this runs before it says what to run
	signals := catchSignals()
	r := bufio.NewReader(os.Stdin)
	spec, err := readSpec(r)
	if err != nil {
		out.status(startFailedBy("parent", "spec", err))
		return 1
	}
	spec.inPlace, spec.Credential = true, nil
	if spec.Silence <= 0 {
		spec.Silence = silenceLimit
	}
	hungUp := make(chan struct{})
	p := &parent{
		spec: spec, report: out.status, signals: signals, requests: make(chan killRequest, 1), sink: out,
		readControl: func(r *bufio.Reader, requests chan<- killRequest) {
			defer close(hungUp)
			readLinkedControl(r, requests, spec.Silence)
		},
	}
	stop := make(chan struct{})
	defer close(stop)
	go out.beat(stop, spec.Silence/beats)
	result, err := p.execute(r)
	if err != nil {
		out.status(startStatus(err))
		return 1
	}
	out.status(status{Result: &result})
	if p.tree == nil { // nothing was executed, so nobody reads the control lines yet
		go p.readControl(r, p.requests)
	}
	select {
	case <-hungUp:
	case <-time.After(lingerLimit):
	}
	return 0
}

// ReserveThreads makes Go's runtime have at least n threads, which it keeps: where the number of processes is limited, the
// command may take all that are left, and a runtime that gets no thread when it wants one ends the program.
func ReserveThreads(n int) {
	var locked sync.WaitGroup
	let := make(chan struct{})
	for range n {
		locked.Add(1)
		go func() {
			runtime.LockOSThread() // each has one of its own, until all have
			locked.Done()
			<-let
			runtime.UnlockOSThread()
		}()
	}
	locked.Wait()
	close(let)
}

// prepareLinked is prepareProcess without what needs a privilege.
func prepareLinked() error {
	unix.Umask(0o022)
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return err
	}
	return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
}

// readLinkedControl is readControl with an eye on the clock: a link may die without a word.
func readLinkedControl(r *bufio.Reader, requests chan<- killRequest, silence time.Duration) {
	silent := time.AfterFunc(silence, func() { requests <- killRequest{Why: engineGone} })
	defer silent.Stop()
	d := json.NewDecoder(r)
	for {
		var c control
		if err := d.Decode(&c); err != nil {
			select {
			case requests <- killRequest{Why: engineGone}:
			case <-time.After(lingerLimit): // the command has ended, and nobody asks any more
			}
			return
		}
		silent.Reset(silence)
		if c.Kill != nil {
			requests <- *c.Kill
		}
	}
}

// linkWriter is the sink of a linked parent. Writes block while the link is full, and with them the command.
type linkWriter struct {
	mu    sync.Mutex
	w     io.Writer
	err   error
	bytes [2]int64
}

func (l *linkWriter) frame(kind byte, data []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.write(kind, data)
}

func (l *linkWriter) write(kind byte, data []byte) {
	if l.err != nil {
		return // the engine is gone; the command is being ended
	}
	b := make([]byte, 0, frameHeader+len(data))
	b = binary.BigEndian.AppendUint32(append(b, kind), uint32(len(data)))
	_, l.err = l.w.Write(append(b, data...))
}

func (l *linkWriter) status(s status) {
	b, err := json.Marshal(s)
	if err == nil {
		l.frame(frameStatus, b)
	}
}

func (l *linkWriter) beat(stop <-chan struct{}, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
			l.frame(frameBeat, nil)
		}
	}
}

// Append implements sink.
func (l *linkWriter) Append(s journal.Stream, data []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(data) == 0 {
		return
	}
	l.bytes[s-1] += int64(len(data))
	kind := byte(frameStdout)
	if s == journal.Stderr {
		kind = frameStderr
	}
	l.write(kind, data)
}

// Seal implements sink. The seal counts what was sent, so that the other end knows whether all came; hashes are its own.
func (l *linkWriter) Seal(state drivers.OutputState) (drivers.OutputSeal, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return drivers.OutputSeal{
		State: state, Stdout: drivers.StreamSeal{Bytes: l.bytes[0]}, Stderr: drivers.StreamSeal{Bytes: l.bytes[1]},
	}, nil
}

// readFrame returns the next frame; its data is part of buf, which is grown as needed.
func readFrame(r io.Reader, buf *[]byte) (kind byte, data []byte, err error) {
	var header [frameHeader]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(header[1:])
	if n > maxFrame {
		return 0, nil, errors.New("the exec parent sent no frame")
	}
	if int(n) > cap(*buf) {
		*buf = make([]byte, n)
	}
	data = (*buf)[:n]
	if _, err := io.ReadFull(r, data); err != nil {
		return 0, nil, io.ErrUnexpectedEOF
	}
	return header[0], data, nil
}
