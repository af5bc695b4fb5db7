package rundir

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/tenure-dev/tenure/drivers/internal/proc"
)

// census looks at the processes of this machine. One look answers all who asked before it began, so that the releases of
// ten thousand leases do not each read all of /proc.
type census struct {
	mu   sync.Mutex
	next *look
	// turn is held by the look under way.
	turn sync.Mutex
}

// look is one reading of /proc. done is closed when it is over.
type look struct {
	done  chan struct{}
	found []resident
	err   error
}

// resident is a process, and what tells which runtime it is of.
type resident struct {
	proc.Info
	// places are its directory, its root and its program; runtimes are the values of RuntimeVar in its environment.
	places, runtimes []string
}

// take returns the processes of a moment after the call.
func (c *census) take() ([]resident, error) {
	c.mu.Lock()
	l, leads := c.next, c.next == nil
	if leads {
		l = &look{done: make(chan struct{})}
		c.next = l
	}
	c.mu.Unlock()
	if !leads {
		<-l.done
		return l.found, l.err
	}
	defer close(l.done)
	c.turn.Lock()
	defer c.turn.Unlock()
	c.mu.Lock()
	c.next = nil // who asks from now on needs a later look
	c.mu.Unlock()
	l.found, l.err = residents()
	return l.found, l.err
}

func residents() ([]resident, error) {
	all, err := proc.List()
	if err != nil {
		return nil, err
	}
	var found []resident
	for _, p := range all {
		if p.PID == os.Getpid() || p.PID == 1 || p.Ended() {
			continue
		}
		at := "/proc/" + strconv.Itoa(p.PID)
		r := resident{Info: p, places: places(at), runtimes: runtimesOf(at)}
		if len(r.places)+len(r.runtimes) > 0 {
			found = append(found, r)
		}
	}
	return found, nil
}

// places are where a process is. What cannot be read belongs to a user whose processes we did not start.
func places(at string) []string {
	var found []string
	for _, link := range []string{"/cwd", "/root", "/exe"} {
		if target, err := os.Readlink(at + link); err == nil {
			found = append(found, target)
		}
	}
	return found
}

func runtimesOf(at string) []string {
	b, err := os.ReadFile(at + "/environ")
	if err != nil {
		return nil
	}
	var found []string
	for v := range bytes.SplitSeq(b, []byte{0}) {
		if id, ok := bytes.CutPrefix(v, []byte(RuntimeVar+"=")); ok {
			found = append(found, string(id))
		}
	}
	return found
}

// below reports whether the process's directory, root or program is below dir.
func (r resident) below(dir string) bool {
	for _, place := range r.places {
		if place == dir || strings.HasPrefix(place, dir+"/") {
			return true
		}
	}
	return false
}
