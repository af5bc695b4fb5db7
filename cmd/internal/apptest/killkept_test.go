package apptest_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/cmd/internal/apptest"
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/runtime"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
	"github.com/tenure-dev/tenure/eventstore/faults"
	"github.com/tenure-dev/tenure/eventstore/pg"
	"github.com/tenure-dev/tenure/migrations/pgtest"
)

// keptKillers is how many engines live that story beside one another.
const keptKillers = 2

// keptChapters are the steps of a kept runtime's life. In each the engine is killed once, at one of the chapter's points, and
// each has to come to the same end as without. A life, with one kill in each chapter, is lived as often as the longest list is.
func keptChapters() []chapter {
	return []chapter{
		{"keep", slices.Concat(
			points(appends, "LeaseReleaseStarted"), []string{"driver.keep.before", "driver.keep.after"}, points(all, "LeaseRetained"),
		), (*keptLife).keep},
		{"resume", slices.Concat(
			points(appends, "LeaseRequested", "LeaseProvisioningStarted", "LeaseProvisioned"), []string{"driver.resume.before", "driver.resume.after"},
		), (*keptLife).resume},
		{"drift", points(all, "LeaseRetentionEnded", "LeaseCleanupCompleted"), (*keptLife).drift},
		{"replace", slices.Concat(
			[]string{"driver.resume.after", "driver.clear.before", "driver.clear.after"}, points(all, "LeaseProvisioningFailed"),
			[]string{"append.before:LeaseProvisioningStarted@2", "append.sent:LeaseProvisioningStarted@2", "append.after:LeaseProvisioningStarted@2"},
		), (*keptLife).replace},
		{"evict", slices.Concat(
			points(appends, "LeaseRequested", "LeaseReleaseStarted"), []string{"driver.release.before", "driver.release.after", "driver.acquire.before"},
		), (*keptLife).evict},
	}
}

// The steps of an append, and all that there are of an event.
var (
	appends = []string{"append.before", "append.sent", "append.after"}
	all     = append(slices.Clone(appends), "page.commit.before", "page.commit.after")
)

// points are those of the steps for each event.
func points(steps []string, events ...string) (names []string) {
	for _, e := range events {
		for _, s := range steps {
			names = append(names, s+":"+e)
		}
	}
	return names
}

// chapter is a step of the life, with the points at which the engine dies in it.
type chapter struct {
	name   string
	points []string
	live   func(*keptLife)
}

func (c chapter) kill(n int) string {
	if n >= len(c.points) {
		return ""
	}
	if p := c.points[n]; strings.Contains(p, "@") {
		return p
	}
	return c.points[n] + "@1"
}

// A runtime is kept, resumed, given up for another configuration, replaced since it is gone, and evicted, with the engine
// killed at each append and call of the driver on the way.
func TestAnEngineKilledAtAnyPointOfAKeptRuntimesLifeSettles(t *testing.T) {
	t.Parallel()
	longest := 0
	for _, c := range keptChapters() {
		longest = max(longest, len(c.points))
	}
	for _, point := range faults.Points {
		require.True(t, whyNotPassed(point) != inKeptLife || slices.ContainsFunc(keptChapters(), func(c chapter) bool {
			return slices.Contains(c.points, point)
		}), "nobody dies at %s", point)
	}
	lives := []int{-1} // the first is one without a kill
	for n := range longest {
		lives = append(lives, n)
	}
	killAll(t, keptKillers, lives, func(n int) string { return fmt.Sprintf("life %d", n) }, func(_ *testing.T, v *victim, n int) {
		(&keptLife{victim: v}).live(n)
	})
}

// killAll lets engines that live through many kills share the cases, and looks at what each has left in the end. One that a
// case went wrong on is not used again.
func killAll[T any](t *testing.T, engines int, cases []T, name func(T) string, live func(t *testing.T, v *victim, of T)) {
	t.Helper()
	next := make(chan T, len(cases))
	for _, c := range cases {
		next <- c
	}
	close(next)
	var all sync.WaitGroup
	for n := range engines {
		v := newMortal(t)
		all.Go(func() {
			for c := range next {
				if ok := t.Run(name(c), func(t *testing.T) { live(t, v.in(t), c) }); !ok {
					return
				}
			}
			t.Run(fmt.Sprintf("what engine %d has left", n), func(t *testing.T) { v.in(t).checkAll() })
		})
	}
	all.Wait()
}

// newMortal is an engine that can be told while it runs where to die next.
func newMortal(t *testing.T) *victim {
	t.Helper()
	url, dir := pgtest.URL(t), apptest.Dir(t)
	v := &victim{t: t, pool: pgtest.Connect(t, url), trace: filepath.Join(dir, "trace"), arm: filepath.Join(dir, "arm")}
	v.dieAt("")
	v.Engine = apptest.New(t, apptest.WithFaults(t, v.arm, v.trace), apptest.WithEnv("TENURE_DATABASE_URL="+url),
		apptest.WithArgs("--worker-ttl", "200ms", "--sweep-interval", "50ms"))
	v.Start()
	return v
}

// dieAt says where the engine dies next; "" is nowhere.
func (v *victim) dieAt(point string) {
	v.t.Helper()
	require.NoError(v.t, os.WriteFile(v.arm+".new", []byte(point), 0o644))
	require.NoError(v.t, os.Rename(v.arm+".new", v.arm))
}

// in is the victim for a subtest.
func (v *victim) in(t *testing.T) *victim {
	v.t = t
	return v
}

// checkAll looks at what all lives together have left.
func (v *victim) checkAll() {
	v.t.Helper()
	v.checkReadModels()
	v.checkDisk()
}

// keptLife is one life: a company with one slot, and its leases in the order of the chapters.
type keptLife struct {
	*victim
	company, environment uuid.UUID
	leases               []wire.Lease
	// arming is the point of the chapter.
	arming string
}

func (l *keptLife) live(n int) {
	l.t.Helper()
	l.begin()
	l.do("add company", func(ctx context.Context, c *client.Client) error {
		got, err := c.AddCompany(ctx, wire.AddCompany{Name: "acme"}, l.key("company"))
		l.company = got.ID
		return err
	})
	l.do("add environment", func(ctx context.Context, c *client.Client) error {
		got, err := c.AddEnvironment(ctx, l.company, wire.AddEnvironment{Name: "local", Driver: "local", MaxLeases: 1}, l.key("environment"))
		l.environment = got.ID
		return err
	})
	first := l.acquire("agent")
	require.Equal(l.t, "created", first.Acquisition.Outcome)
	for _, c := range keptChapters() {
		point := ""
		if n >= 0 {
			point = c.kill(n)
		}
		l.died = false
		l.during = c.name
		l.arming = point
		c.live(l)
		if point != "" {
			require.True(l.t, l.died, "%s: %s was not passed", c.name, point)
		}
	}
	l.release("destroy", wire.LeaseReleased)
	l.check()
}

// armed does the part of a chapter in which the engine dies, and waits for its death.
func (l *keptLife) armed(part func()) {
	l.t.Helper()
	if l.arming == "" {
		part()
		return
	}
	l.dieAt(l.arming)
	part()
	if !l.died {
		select {
		case <-l.Gone():
			l.restart()
		case <-time.After(waitLong):
			l.t.Fatalf("%s: %s was not reached:\n%s", l.during, l.arming, l.Log())
		}
	}
}

// acquire asks for a lease of an agent and waits until it is active.
func (l *keptLife) acquire(agent string) (got wire.Lease) {
	l.t.Helper()
	key := l.key(fmt.Sprintf("acquire %d", len(l.leases)))
	l.do("acquire", func(ctx context.Context, c *client.Client) error {
		a, ready, err := c.AcquireLease(ctx, l.company, wire.AcquireLease{
			EnvironmentID: l.environment, HeartbeatRunID: l.run, AgentID: agent, LeasePolicy: "reuse_by_environment",
		}, key, client.Wait(waitLong))
		if err == nil && !ready {
			err = fmt.Errorf("the lease is %s after %s", a.Lease.Status, waitLong)
		}
		got = a.Lease
		return err
	})
	l.leases = append(l.leases, got)
	return got
}

// release gives the last lease back.
func (l *keptLife) release(disposition, want string) {
	l.t.Helper()
	of := len(l.leases) - 1
	l.do("release", func(ctx context.Context, c *client.Client) error {
		got, err := c.ReleaseLease(ctx, l.leases[of].ID, wire.Release{Disposition: disposition}, l.key(fmt.Sprintf("release %d", of)), client.Wait(waitLong))
		if err == nil && got.Status != want {
			err = fmt.Errorf("the lease is %s after %s", got.Status, waitLong)
		}
		return err
	})
}

func (l *keptLife) last() wire.Lease { return l.leases[len(l.leases)-1] }

// workspace is the directory of a lease's runtime.
func (l *keptLife) workspace(of wire.Lease) string {
	l.t.Helper()
	dir, ok := of.Metadata["workspace"].(string)
	require.True(l.t, ok, "%v", of.Metadata)
	return dir
}

func (l *keptLife) keep() {
	left := filepath.Join(l.workspace(l.last()), "left")
	require.NoError(l.t, os.WriteFile(left, []byte("by the first"), 0o644))
	l.armed(func() { l.release("", wire.LeaseRetained) })
}

func (l *keptLife) resume() {
	former := l.last()
	var got wire.Lease
	l.armed(func() { got = l.acquire("agent") })
	require.Equal(l.t, "resumed", got.Acquisition.Outcome)
	require.Greater(l.t, got.Fence, former.Fence)
	require.Equal(l.t, l.workspace(former), l.workspace(got))
	require.FileExists(l.t, filepath.Join(l.workspace(got), "left"))
	l.release("", wire.LeaseRetained)
}

func (l *keptLife) drift() {
	former := l.last()
	l.do("configure", func(ctx context.Context, c *client.Client) error {
		_, err := c.PatchEnvironment(ctx, l.environment, map[string]any{"config": map[string]any{"path": []string{"/opt/" + l.run}}}, l.key("patch"))
		return err
	})
	var got wire.Lease
	l.armed(func() { got = l.acquire("agent") })
	l.isReplaced(former, got, "lease_fingerprint_mismatch")
	l.release("", wire.LeaseRetained)
}

func (l *keptLife) isReplaced(former, got wire.Lease, why string) {
	l.t.Helper()
	require.Equal(l.t, "replacement", got.Acquisition.Outcome)
	require.NotNil(l.t, got.Acquisition.Reason)
	require.Equal(l.t, why, *got.Acquisition.Reason)
	require.NoDirExists(l.t, l.workspace(former))
	require.DirExists(l.t, l.workspace(got))
}

func (l *keptLife) replace() {
	former := l.last()
	require.NoError(l.t, os.RemoveAll(filepath.Dir(l.workspace(former))))
	var got wire.Lease
	l.armed(func() { got = l.acquire("agent") })
	l.isReplaced(former, got, "runtime_gone")
	l.release("", wire.LeaseRetained)
}

func (l *keptLife) evict() {
	former := l.last()
	var got wire.Lease
	l.armed(func() { got = l.acquire("another agent") })
	require.Equal(l.t, "created", got.Acquisition.Outcome)
	require.NoDirExists(l.t, l.workspace(former))
}

// keptEnds are how the leases of a life end, in their order.
var keptEnds = []struct {
	status  lease.Status
	retired lease.RetentionReason
	passes  bool
}{
	{status: lease.StatusRetained, passes: true}, // to the second
	{status: lease.StatusRetained, retired: lease.RetentionDrift},
	{status: lease.StatusRetained, passes: true}, // to the fourth, which finds it gone
	{status: lease.StatusRetained, retired: lease.RetentionEvicted},
	{status: lease.StatusReleased},
}

// check holds the log of this life to one truth, whenever the engine died.
func (l *keptLife) check() {
	l.t.Helper()
	require.Len(l.t, l.leases, len(keptEnds))
	events := l.events()
	for i, want := range keptEnds {
		mine := of(events, commands.Leases.Stream(l.leases[i].ID))
		s, err := commands.Leases.Fold(commands.Leases.Decider.Initial(), mine)
		require.NoError(l.t, err)
		require.Equal(l.t, want.status, s.Status(), "lease %d", i)
		require.Equal(l.t, want.retired, s.RetentionEnd, "lease %d", i)
		require.True(l.t, s.Over(), "lease %d", i)
		require.False(l.t, s.Attempting || s.TearingDown || s.HoldsSlot(), "lease %d", i)
		once := []string{"LeaseRequested", "LeaseGranted", "LeaseProvisioned", "LeaseReleaseRequested"}
		if want.status == lease.StatusRetained {
			once = append(once, "LeaseRetained")
		}
		if want.passes {
			require.Equal(l.t, l.leases[i+1].ID, s.PassedTo.UUID)
			once = append(once, "LeaseRuntimePassed")
		}
		if want.retired != "" {
			once = append(once, "LeaseRetentionEnded", "LeaseCleanupCompleted")
		}
		for _, name := range once {
			require.Equal(l.t, 1, count(mine, name), "lease %d: %s", i, name)
		}
	}
	l.checkHolders(events)
}

// checkHolders follows who held each runtime, and wants all of them to be gone.
func (l *keptLife) checkHolders(events []eventstore.Recorded) {
	l.t.Helper()
	holder, gone := map[eventstore.Stream]domain.LeaseID{}, map[eventstore.Stream]bool{}
	made := 0
	for _, r := range events {
		switch e := decoded(l.victim, r).(type) {
		case runtime.Made:
			made++
		case runtime.Held:
			require.True(l.t, holder[r.Stream].IsZero(), "two holders of %s", r.Stream)
			holder[r.Stream] = e.Lease
		case runtime.Freed:
			require.Equal(l.t, e.Lease, holder[r.Stream])
			delete(holder, r.Stream)
		case runtime.Destroyed:
			require.True(l.t, holder[r.Stream].IsZero(), "%s was destroyed while it was held", r.Stream)
			gone[r.Stream] = true
		}
	}
	require.Empty(l.t, holder, "a runtime is still held")
	require.Equal(l.t, 4, made, "the first, of another make, in place of the one that is gone, for another agent")
	require.Len(l.t, gone, 4)
	require.Equal(l.t, 4, count(events, "RuntimeIntended"))
	admission, err := commands.Admissions.Fold(commands.Admissions.Decider.Initial(), of(events, commands.Admissions.Stream(l.environment)))
	require.NoError(l.t, err)
	require.Empty(l.t, admission.Holders)
	require.Empty(l.t, admission.Idle())
}

// events are those of this life's company.
func (l *keptLife) events() (events []eventstore.Recorded) {
	l.t.Helper()
	store, err := pg.Open(l.t.Context(), l.pool, pg.Options{})
	require.NoError(l.t, err)
	defer store.Close()
	for after := int64(0); ; {
		page, err := store.ReadCompany(l.t.Context(), domain.CompanyID{UUID: l.company}, after, eventstore.PageSize)
		require.NoError(l.t, err)
		if len(page) == 0 {
			return events
		}
		events, after = append(events, page...), page[len(page)-1].Position
	}
}
