package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/tenure-dev/tenure/eventstore/faults"
)

// verb is what a process of the engine does.
type verb string

const (
	verbAPI    verb = "api"
	verbWorker verb = "worker"
)

// node is a machine of the engine: a data directory, and one process after the other on it.
type node struct {
	run     *run
	name    string
	verb    verb
	dataDir string
	// database is its way to Postgres, front that of clients to it (api only).
	database, front *gate
	log             *os.File

	mu    sync.Mutex
	cmd   *exec.Cmd
	ready bool
	// meant says that the end of this process is our doing.
	meant bool
	// changed is closed and made anew when the process is ready or ends.
	changed chan struct{}
	// starts counts them.
	starts int
	random *rand.Rand
}

// startLimit is how long a process may take to serve. Starts wait for a database that is away, and for a machine without time.
const startLimit = 3 * time.Minute

// tend keeps a process running on the node until ctx ends: whoever ends it, it is back after a moment.
func (n *node) tend(ctx context.Context) {
	for ctx.Err() == nil {
		err := n.live(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			n.run.say("%s: %s", n.name, err)
		}
		_ = pause(ctx, n.moment())
	}
}

// moment is how long the node stays down.
func (n *node) moment() time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	return 100*time.Millisecond + time.Duration(n.random.Int64N(int64(2*time.Second)))
}

// live is the life of one process, from its start to its end.
func (n *node) live(ctx context.Context) error {
	scan := &lineScanner{out: n.log, listening: make(chan string, 1)}
	cmd, wait, hold, err := n.start(ctx, scan)
	if err != nil {
		return err
	}
	life, over := context.WithCancel(ctx)
	defer over()
	var around sync.WaitGroup
	defer around.Wait()
	if hold != "" {
		around.Go(func() { n.holdUp(life, cmd, hold) })
	}
	around.Go(func() {
		select {
		case address := <-scan.listening:
			n.serves(strings.TrimPrefix(address, "http://"))
		case <-time.After(startLimit):
			n.run.violate("process", n.name, fmt.Sprintf("it does not serve %s after its start; see %s", startLimit, n.log.Name()))
		case <-life.Done():
		}
	})
	err = wait()
	over()
	return n.ended(err, scan)
}

// start begins a process. hold is the file by which it says that it is held up at a point; "" if it will not be.
func (n *node) start(ctx context.Context, scan *lineScanner) (cmd *exec.Cmd, wait func() error, hold string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if ctx.Err() != nil {
		return nil, nil, "", context.Cause(ctx) // whoever ends the node has found no process, and does not come again
	}
	args := []string{string(n.verb), "--listen", "127.0.0.1:0", "--data-dir", n.dataDir, "--drain-timeout", "5s"}
	if n.verb == verbWorker {
		args = append(args, workerArgs...)
	}
	cmd = exec.Command(n.run.bin, args...) //nolint:noctx // it is ended in many ways
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Dir(n.dataDir), "TENURE_DATABASE_URL=" + n.run.db.through(n.database),
		faults.ClockVariable + "=" + n.clockFile(),
	}
	if n.starts > 0 {
		hold = n.trap(cmd)
	}
	cmd.Stdout, cmd.Stderr = scan, scan
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = time.Second
	fmt.Fprintf(n.log, "---- %s start %d of %s\n", time.Now().UTC().Format(time.RFC3339Nano), n.starts+1, n.name)
	if wait, err = n.run.children.start(cmd); err != nil {
		return nil, nil, "", err
	}
	n.cmd, n.ready, n.meant = cmd, false, false
	n.starts++
	return cmd, wait, hold, nil
}

// trap arms some processes to be held up, or to end themselves, at a point within their work.
func (n *node) trap(cmd *exec.Cmd) (hold string) {
	point := points[n.verb][n.random.IntN(len(points[n.verb]))]
	switch {
	case n.run.wants(faultStop) && n.random.IntN(3) == 0:
		hold = filepath.Join(filepath.Dir(n.dataDir), "hold")
		_ = os.Remove(hold)
		cmd.Env = append(cmd.Env, faults.HoldVariable+"="+point+"="+hold)
	case n.run.wants(faultKill) && n.random.IntN(4) == 0:
		cmd.Env = append(cmd.Env, fmt.Sprintf("%s=%s@%d", faults.PointVariable, point, 1+n.random.IntN(4)))
	}
	return hold
}

// holdUp stops a process that is at the point at which it was to be held up, for a while, and lets it go on.
func (n *node) holdUp(ctx context.Context, cmd *exec.Cmd, hold string) {
	defer os.Remove(hold) //nolint:errcheck // it may never have been there
	if until(ctx, func() bool {
		text, err := os.ReadFile(hold)
		return err == nil && len(text) > 0
	}) != nil {
		return
	}
	point, _ := os.ReadFile(hold)
	n.mu.Lock()
	d := n.run.stopTime(n.random)
	n.mu.Unlock()
	if !n.run.calm.Load() {
		n.run.count(faultStop)
		n.run.tell("stop", n.name, fmt.Sprintf("for %s at %s", d.Round(time.Millisecond), point))
		n.freeze(ctx, cmd, d)
	}
}

// freeze stops a process for a time.
func (n *node) freeze(ctx context.Context, cmd *exec.Cmd, d time.Duration) {
	if cmd.Process.Signal(syscall.SIGSTOP) != nil {
		return
	}
	_ = pause(ctx, d)
	_ = cmd.Process.Signal(syscall.SIGCONT)
}

// serves notes that the process listens.
func (n *node) serves(address string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.front != nil {
		n.front.lead("tcp", address)
	}
	n.ready = true
	n.change()
}

// change wakes who waits for a change of the node; the lock is held.
func (n *node) change() {
	close(n.changed)
	n.changed = make(chan struct{})
}

// ended judges the end of a process. One that ended by itself while nothing was wrong with its database has a fault.
func (n *node) ended(err error, scan *lineScanner) error {
	n.mu.Lock()
	meant, ready, cmd := n.meant, n.ready, n.cmd
	n.cmd, n.ready = nil, false
	n.change()
	n.mu.Unlock()
	if bad := scan.panicked(); bad != "" {
		n.run.violate("process", n.name, fmt.Sprintf("it panicked: %s; see %s", bad, n.log.Name()))
	}
	if meant {
		return nil
	}
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if point := scan.trapped(); point != "" && ok && status.Signaled() && status.Signal() == syscall.SIGKILL {
		n.run.count(faultKill)
		n.run.tell("kill", n.name, "by itself at "+point)
		return nil
	}
	if ready {
		n.run.violate("process", n.name, fmt.Sprintf("it ended by itself: %v; see %s", err, n.log.Name()))
		return nil
	}
	if err == nil {
		err = errors.New("it ended in order")
	}
	return fmt.Errorf("no start: %w: %s", err, scan.last())
}

// current is the process, nil for none.
func (n *node) current() *exec.Cmd {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cmd
}

// kill ends the process by SIGKILL.
func (n *node) kill() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd == nil {
		return false
	}
	n.meant = true
	return n.cmd.Process.Kill() == nil
}

// end ends the process by SIGTERM. One that does not end has a fault, and is killed.
func (n *node) end() {
	n.mu.Lock()
	cmd := n.cmd
	if cmd != nil {
		n.meant = true
		_ = cmd.Process.Signal(syscall.SIGTERM)
	}
	n.mu.Unlock()
	if cmd == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if until(ctx, func() bool { return n.current() != cmd }) != nil {
		n.run.violate("process", n.name, "it does not end on SIGTERM; see "+n.log.Name())
		n.kill()
	}
}

// up waits until the process serves.
func (n *node) up(ctx context.Context) error {
	for {
		n.mu.Lock()
		ready, changed := n.ready, n.changed
		n.mu.Unlock()
		if ready {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%s does not serve: %w; see %s", n.name, context.Cause(ctx), n.log.Name())
		}
	}
}

func (n *node) isReady() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ready
}

func (n *node) clockFile() string { return filepath.Join(filepath.Dir(n.dataDir), "clock") }

// setClock makes the machine's clock wrong by so much.
func (n *node) setClock(wrong time.Duration) error {
	path := n.clockFile()
	if err := os.WriteFile(path+".new", []byte(wrong.String()), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// lineScanner keeps what a process says, and looks for the lines that matter.
type lineScanner struct {
	out       *os.File
	listening chan string

	mu   sync.Mutex
	rest []byte
	// bad is the line of a panic, trap the point at which the process ended itself, tail the last lines.
	bad, trap string
	tail      []string
}

// Write takes what a process says.
func (s *lineScanner) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rest = append(s.rest, p...)
	for {
		end := bytes.IndexByte(s.rest, '\n')
		if end < 0 {
			break
		}
		s.line(string(s.rest[:end]))
		s.rest = s.rest[end+1:]
	}
	_, err := s.out.Write(p)
	return len(p), err
}

func (s *lineScanner) line(line string) {
	if address, ok := strings.CutPrefix(line, "listening on "); ok {
		select {
		case s.listening <- address:
		default:
		}
	}
	if point, ok := strings.CutPrefix(line, "faults: ending at "); ok {
		s.trap = point
	}
	for _, word := range []string{"panic:", "fatal error:", "DATA RACE", "deadlock detected"} {
		if s.bad == "" && strings.Contains(line, word) {
			s.bad = line
		}
	}
	s.tail = append(s.tail, line)
	if len(s.tail) > 3 {
		s.tail = s.tail[1:]
	}
}

func (s *lineScanner) panicked() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bad
}

func (s *lineScanner) trapped() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.trap
}

func (s *lineScanner) last() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.tail, " | ")
}
