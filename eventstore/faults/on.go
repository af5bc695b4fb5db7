//go:build faults

package faults

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Enabled says that the program was built to be ended at a point.
const Enabled = true

var armed struct {
	mu      sync.Mutex
	point   string
	passage int
	passed  int
	trace   *os.File
	// file says where to end, and may be replaced while the process runs; said is what it last did.
	file, said string
	// held is the point at which the first passage waits while the file holdFile is there.
	held, holdFile string
	// Passages of the step slow take up to delay.
	slow  string
	delay time.Duration
	// clock is the file that says how wrong the machine's clock is.
	clock string
}

// Arm tells where to end and how wrong the clock is, from the process's environment. What cannot be done ends the process
// at once: a test that ends nothing would prove nothing.
func Arm(variable func(string) string) {
	if path := variable(TraceVariable); path != "" {
		file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			refuse(err.Error())
		}
		armed.trace = file
	}
	if path := variable(ClockVariable); path != "" {
		if _, err := wrongBy(path); err != nil {
			refuse(err.Error())
		}
		if !canShow() {
			refuse("this Go keeps its time in another way, so a wrong clock cannot be shown; mend eventstore/faults/clock.go")
		}
		armed.clock = path
	}
	if spec := variable(DelayVariable); spec != "" {
		step, most, _ := strings.Cut(spec, "=")
		delay, err := time.ParseDuration(most)
		if err != nil || delay <= 0 || !slices.ContainsFunc(Points, func(p string) bool { return ofStep(p, step) }) {
			refuse(fmt.Sprintf("%s: %q is no step of this program with a time; give one such as append.before=50ms", DelayVariable, spec))
		}
		armed.slow, armed.delay = step, delay
	}
	if spec := variable(HoldVariable); spec != "" {
		point, file, ok := strings.Cut(spec, "=")
		if !ok || !slices.Contains(Points, point) {
			refuse(fmt.Sprintf("%s: %q is no point of this program with a file; give one such as %s=FILE", HoldVariable, spec, Points[0]))
		}
		armed.held, armed.holdFile = point, file
	}
	spec := variable(PointVariable)
	if spec == "" {
		return
	}
	if strings.HasPrefix(spec, "/") {
		armed.file = spec
		reread()
		return
	}
	endAt(spec)
}

// endAt sets the point and counts its passages from here on.
func endAt(spec string) {
	point, passage, ok := strings.Cut(spec, "@")
	n, err := strconv.Atoi(passage)
	if !ok || err != nil || n < 1 || !slices.Contains(Points, point) {
		refuse(fmt.Sprintf("%s: %q is no point of this program; give one such as %s@1", PointVariable, spec, Points[0]))
	}
	armed.point, armed.passage, armed.passed = point, n, 0
}

// reread takes over what the file says by now; nothing is no point.
func reread() {
	raw, err := os.ReadFile(armed.file)
	if err != nil {
		refuse(err.Error())
	}
	said := strings.TrimSpace(string(raw))
	if said == armed.said {
		return
	}
	armed.said, armed.point = said, ""
	if said != "" {
		endAt(said)
	}
}

func refuse(why string) {
	fmt.Fprintln(os.Stderr, "faults:", why)
	os.Exit(2)
}

// Point passes a point. Who is held up at it says so in the file that does.
func Point(name string) {
	if armed.delay > 0 && ofStep(name, armed.slow) {
		time.Sleep(rand.N(armed.delay))
	}
	if file := pass(name); file != "" {
		if err := os.WriteFile(file, []byte(name), 0o600); err != nil {
			refuse(err.Error())
		}
		for _, err := os.Stat(file); err == nil; _, err = os.Stat(file) {
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// ofStep reports whether a point is one of a step.
func ofStep(point, step string) bool {
	return point == step || strings.HasPrefix(point, step+":")
}

// pass notes a passage, and ends the process if it is the last one. It returns the file that holds who passes up, if any.
func pass(name string) (hold string) {
	armed.mu.Lock()
	defer armed.mu.Unlock()
	if armed.trace != nil {
		if _, err := armed.trace.WriteString(name + "\n"); err != nil {
			refuse(err.Error())
		}
	}
	if armed.file != "" {
		reread()
	}
	if name == armed.held {
		armed.held = ""
		return armed.holdFile
	}
	if name != armed.point {
		return ""
	}
	armed.passed++
	if armed.passed < armed.passage {
		return ""
	}
	fmt.Fprintf(os.Stderr, "faults: ending at %s\n", name)
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // not a step further while the signal is on its way
}

// Of passes the point of a step for one subject, the name of an event.
func Of(step, subject string) { Point(step + ":" + subject) }

// Each passes the point of a step for each item that subject gives a name.
func Each[T any](step string, items []T, subject func(T) string) {
	for _, item := range items {
		if name := subject(item); name != "" {
			Of(step, name)
		}
	}
}
