package apptest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/eventstore/faults"
)

// variant is the program built in another way, once for a test program.
type variant struct {
	name  string
	flags []string
	once  sync.Once
	path  string
	err   error
}

var (
	// Without the race detector: a hundred engines start and are killed, and others run the same steps with it.
	faulty  = &variant{name: "tenure-faults", flags: []string{"-race=false", "-tags=faults"}}
	without = &variant{name: "tenure-norace", flags: []string{"-race=false"}}
)

// build builds it beside the plain one.
func (v *variant) build(t testing.TB) string {
	t.Helper()
	dir := filepath.Dir(Binary(t))
	v.once.Do(func() {
		v.path = filepath.Join(dir, v.name)
		args := append(append([]string{"build"}, v.flags...), "-o", v.path, "github.com/tenure-dev/tenure/cmd/tenure")
		if out, err := exec.CommandContext(context.Background(), "go", args...).CombinedOutput(); err != nil {
			v.err = fmt.Errorf("build %s: %w\n%s", v.name, err, out)
		}
	})
	require.NoError(t, v.err)
	return v.path
}

// WithoutRace starts the program without the race detector, for what is about amounts.
func WithoutRace(t testing.TB) Option {
	t.Helper()
	path := without.build(t)
	return func(e *Engine) { e.binary = path }
}

// WithFaults starts a program that was built with the tag faults. It ends itself at the point, such as
// "driver.acquire.before@1", if one is given, and appends the names of all points that it passes to the trace file.
func WithFaults(t testing.TB, point, trace string) Option {
	t.Helper()
	path := faulty.build(t)
	return func(e *Engine) {
		e.binary = path
		e.Env = append(e.Env, faults.TraceVariable+"="+trace)
		if point != "" {
			e.Env = append(e.Env, faults.PointVariable+"="+point)
		}
	}
}

// WithDelay starts a program that was built with the tag faults, in which every passage of the step takes up to that long.
func WithDelay(t testing.TB, step string, most time.Duration) Option {
	t.Helper()
	path := faulty.build(t)
	return func(e *Engine) {
		e.binary = path
		e.Env = append(e.Env, faults.DelayVariable+"="+step+"="+most.String())
	}
}

// Hold is a point at which the first one to pass waits until it is let go.
type Hold struct {
	t    testing.TB
	path string
}

// WithHold starts a program that was built with the tag faults and waits at the point.
func WithHold(t testing.TB, point string) (*Hold, Option) {
	t.Helper()
	h := &Hold{t: t, path: filepath.Join(Dir(t), "hold")}
	require.NoError(t, os.WriteFile(h.path, nil, 0o600))
	path := faulty.build(t)
	return h, func(e *Engine) {
		e.binary = path
		e.Env = append(e.Env, faults.HoldVariable+"="+point+"="+h.path)
	}
}

// Reached waits until somebody is there.
func (h *Hold) Reached() {
	h.t.Helper()
	require.Eventually(h.t, h.IsReached, waitLong, 10*time.Millisecond, "nobody comes to the point")
}

// IsReached reports whether somebody is there.
func (h *Hold) IsReached() bool {
	info, err := os.Stat(h.path)
	return err == nil && info.Size() > 0
}

// LetGo lets it pass.
func (h *Hold) LetGo() {
	h.t.Helper()
	require.NoError(h.t, os.Remove(h.path))
}

// Clock is how wrong a machine's clock is.
type Clock struct {
	t    testing.TB
	path string
}

// NewClock is a clock that is right.
func NewClock(t testing.TB) *Clock {
	t.Helper()
	c := &Clock{t: t, path: filepath.Join(Dir(t), "clock")}
	c.Set(0)
	return c
}

// Set makes it wrong by so much from now on.
func (c *Clock) Set(wrong time.Duration) {
	c.t.Helper()
	require.NoError(c.t, os.WriteFile(c.path+".new", []byte(wrong.String()), 0o644))
	require.NoError(c.t, os.Rename(c.path+".new", c.path))
}

// WithClock starts a program that was built with the tag faults on a machine with that clock.
func WithClock(t testing.TB, c *Clock) Option {
	t.Helper()
	path := faulty.build(t)
	return func(e *Engine) {
		e.binary = path
		e.Env = append(e.Env, faults.ClockVariable+"="+c.path)
	}
}

// Disarm makes later starts pass every point.
func (e *Engine) Disarm() {
	e.Env = slices.DeleteFunc(e.Env, func(kv string) bool { return strings.HasPrefix(kv, faults.PointVariable+"=") })
}
