package apptest_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/cmd/internal/apptest"
	"github.com/tenure-dev/tenure/migrations/pgtest"
)

// kill is a point and which passage of it is the last; without a point nothing is killed.
type kill struct {
	point   string
	passage int
}

func (k kill) String() string {
	if k.point == "" {
		return ""
	}
	return fmt.Sprintf("%s@%d", k.point, k.passage)
}

// victim is an engine that dies once, and its client.
type victim struct {
	t *testing.T
	*apptest.Engine
	pool   *pgxpool.Pool
	trace  string
	during string
	// arm, if set, is the file that says where it dies. Such an engine lives through many kills, each with a scenario of its own:
	// of run, which began behind a position of the log, when so much had been passed.
	arm, run string
	began    int64
	before   map[string]int
	// died says that it did; reborn is when it was started again.
	died   bool
	reborn time.Time
}

// life is what the client knows at the end.
type life struct {
	company, environment, lease, exec uuid.UUID
	fence                             int64
	// outside is a file that the command appends a line to, outside of its workspace.
	outside string
}

// run runs the scenario with one kill and checks all that must hold after it.
func (k kill) run(t *testing.T) settled {
	t.Helper()
	url := pgtest.URL(t)
	dir := apptest.Dir(t)
	require.NoError(t, os.Chmod(dir, 0o777), "commands run as another user")
	v := &victim{t: t, pool: pgtest.Connect(t, url), trace: filepath.Join(dir, "trace")}
	v.Engine = apptest.New(t, apptest.WithFaults(t, k.String(), v.trace), apptest.WithEnv("TENURE_DATABASE_URL="+url),
		apptest.WithArgs("--worker-ttl", "200ms", "--sweep-interval", "50ms"))
	v.during = "start"
	if !v.TryStart() {
		v.restart()
	}
	l := v.useOneLease(dir)
	if k.point != "" && !v.died {
		v.lastCall(k)
	}
	v.settle(l)
	result := v.result(l)
	v.checkReadModels()
	return result
}

// result checks one scenario.
func (v *victim) result(l life) settled {
	v.t.Helper()
	result := settled{reached: v.died, during: v.during, passed: v.passed()}
	if v.died {
		result.after = time.Since(v.reborn)
	}
	result.end = v.check(l)
	return result
}

// runOn runs the scenario with one kill on an engine that has lived through others.
func (k kill) runOn(v *victim) settled {
	v.t.Helper()
	dir := apptest.Dir(v.t)
	require.NoError(v.t, os.Chmod(dir, 0o777), "commands run as another user")
	v.begin()
	v.dieAt(k.String())
	l := v.useOneLease(dir)
	if !v.died {
		v.lastCall(k)
		v.dieAt("")
	}
	v.settle(l)
	return v.result(l)
}

// begin begins another scenario.
func (v *victim) begin() {
	v.t.Helper()
	v.died, v.during, v.run, v.before = false, "", uuid.NewString(), v.trail()
	require.NoError(v.t, v.pool.QueryRow(v.t.Context(), `SELECT max(position) FROM events`).Scan(&v.began))
}

// key is that of a command of this scenario.
func (v *victim) key(what string) client.CallOption { return client.IdempotencyKey(v.run + " " + what) }

// useOneLease is the scenario: a company, an environment, a lease, a command in it, its release. Every command has a key,
// under which it is repeated.
func (v *victim) useOneLease(dir string) life {
	v.t.Helper()
	l := life{exec: uuid.New(), outside: filepath.Join(dir, "outside")}
	v.do("add company", func(ctx context.Context, c *client.Client) error {
		got, err := c.AddCompany(ctx, wire.AddCompany{Name: "acme"}, v.key("company"))
		l.company = got.ID
		return err
	})
	v.do("add environment", func(ctx context.Context, c *client.Client) error {
		got, err := c.AddEnvironment(ctx, l.company, wire.AddEnvironment{Name: "local", Driver: "local"}, v.key("environment"))
		l.environment = got.ID
		return err
	})
	v.do("acquire", func(ctx context.Context, c *client.Client) error {
		got, ready, err := c.AcquireLease(ctx, l.company, wire.AcquireLease{EnvironmentID: l.environment, HeartbeatRunID: "run"},
			v.key("acquire"), client.Wait(waitLong))
		if err == nil && !ready {
			err = fmt.Errorf("the lease is %s after %s", got.Lease.Status, waitLong)
		}
		l.lease, l.fence = got.Lease.ID, got.Lease.Fence
		return err
	})
	v.do("exec", func(ctx context.Context, c *client.Client) error {
		_, err := c.StartExec(ctx, l.lease, l.fence, wire.StartExec{ID: &l.exec, Argv: []string{"sh", "-c", `echo ran >> "$1"`, "sh", l.outside}},
			v.key("exec"))
		return err
	})
	v.do("await exec", func(ctx context.Context, c *client.Client) error {
		x, err := c.Exec(ctx, l.exec, client.Wait(waitLong))
		if err == nil && x.Status != wire.ExecEnded {
			err = fmt.Errorf("the command is %s after %s", x.Status, waitLong)
		}
		return err
	})
	v.do("release", func(ctx context.Context, c *client.Client) error {
		got, err := c.ReleaseLease(ctx, l.lease, wire.Release{}, v.key("release"), client.Wait(waitLong))
		if err == nil && got.Status != wire.LeaseReleased {
			err = fmt.Errorf("the lease is %s after %s", got.Status, waitLong)
		}
		return err
	})
	return l
}

// do makes a call, and makes it again if the engine died meanwhile.
func (v *victim) do(what string, call func(ctx context.Context, c *client.Client) error) {
	v.t.Helper()
	for {
		ctx, cancel := context.WithTimeout(v.t.Context(), waitLong+time.Minute)
		gone := v.Gone()
		go func() {
			select {
			case <-gone:
				cancel()
			case <-ctx.Done():
			}
		}()
		err := call(ctx, v.Client)
		cancel()
		if err == nil {
			return
		}
		// A cut connection comes a moment before the end of the process.
		select {
		case <-gone:
		case <-time.After(time.Minute):
			v.t.Fatalf("%s: %v\n%s", what, err, v.Log())
		}
		v.during = what
		v.restart()
	}
}

// restart starts the engine again after it died at its point; there is nothing else that it may die of.
func (v *victim) restart() {
	v.t.Helper()
	require.False(v.t, v.died, "the engine ended again:\n%s", v.Log())
	require.Contains(v.t, v.Log(), "faults: ending at ", "the engine ended of something else")
	v.died, v.reborn = true, time.Now()
	if v.arm != "" {
		v.dieAt("")
	} else {
		v.Disarm()
	}
	v.Start()
}

// lastCall waits for a point behind the last answer.
func (v *victim) lastCall(k kill) {
	v.t.Helper()
	patience := time.Minute
	if k.passage > 1 {
		// How often the point is passed is not sure.
		patience = time.Second
	}
	select {
	case <-v.Gone():
		v.during = "after release"
		v.restart()
	case <-time.After(patience):
		require.Greater(v.t, k.passage, 1, "%s was not reached:\n%s", k, v.Log())
	}
}

// settle waits until nothing is left to do.
func (v *victim) settle(l life) {
	v.t.Helper()
	deadline := time.After(waitLong)
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for {
		left := v.unsettled(l)
		if left == "" {
			return
		}
		select {
		case <-ticker.C:
		case <-v.Gone():
			v.t.Fatalf("the engine ended again:\n%s", v.Log())
		case <-deadline:
			v.t.Fatalf("unsettled: %s\n%s", left, v.Log())
		}
	}
}

// unsettled says what is left to do; "" for nothing.
func (v *victim) unsettled(l life) string {
	var behind int
	err := v.pool.QueryRow(v.t.Context(), `
		SELECT count(*)
		  FROM projection_pointers p
		  LEFT JOIN projection_checkpoints c USING (name, revision, generation)
		 WHERE c.position IS DISTINCT FROM (SELECT max(position) FROM events)`).Scan(&behind)
	if err != nil {
		return err.Error()
	}
	if behind > 0 {
		return fmt.Sprintf("%d read models are behind", behind)
	}
	var read bool
	err = v.pool.QueryRow(v.t.Context(), `
		SELECT coalesce(max(position), 0) = (SELECT max(position) FROM events)
		  FROM consumer_offsets`).Scan(&read)
	switch {
	case err != nil:
		return err.Error()
	case !read:
		return "the feed is behind"
	}
	lease, err := v.Client.Lease(v.t.Context(), l.lease)
	switch {
	case err != nil:
		return err.Error()
	case !lease.Ended():
		return "the lease is " + lease.Status
	case lease.CleanupStatus == nil || *lease.CleanupStatus != "success":
		return "the cleanup is not done"
	}
	return ""
}

// passed is how often each point was passed in this scenario.
func (v *victim) passed() map[string]int {
	v.t.Helper()
	passed := v.trail()
	for point, n := range v.before {
		if passed[point] -= n; passed[point] == 0 {
			delete(passed, point)
		}
	}
	return passed
}

// trail counts what the trace says.
func (v *victim) trail() map[string]int {
	v.t.Helper()
	raw, err := os.ReadFile(v.trace)
	require.NoError(v.t, err)
	passed := map[string]int{}
	for line := range strings.Lines(string(raw)) {
		passed[strings.TrimSpace(line)]++
	}
	return passed
}
