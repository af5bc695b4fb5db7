package apptest_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/cmd/internal/apptest"
	"github.com/tenure-dev/tenure/eventstore/embedded"
	"github.com/tenure-dev/tenure/migrations/pgtest"
)

const (
	// awayFor is how long the database is away, backWithin how soon after that everything works again, and worksFor how long it
	// is watched doing so.
	awayFor, backWithin, worksFor = 30 * time.Second, 5 * time.Second, 3 * time.Second
	// answerWithin is how long a call may take meanwhile: an append that waits behind one without an outcome, each on a link
	// that carries nothing.
	answerWithin = 20 * time.Second
	callEvery    = time.Second / 50
	// lookEvery is how many calls there are to a look at how fast the machine is, which stretches the limits.
	lookEvery = 25
)

// away is a database that goes away and comes back.
type away struct {
	url              string
	goAway, comeBack func()
}

// peak is how much memory the engine may take at most: an output of 200 MB that was kept for its readers would be above it. The
// engine is one without the race detector. Hundreds of calls wait, and it keeps so much of each that it would say nothing of the
// engine; TestTheEngineSurvivesTheDeathOfItsPostgres has it.
const peak = 150 << 20

// ways are those in which it does so.
var ways = map[string]func(t *testing.T) away{
	// The server is ended at once, its socket is gone and connections are refused.
	"stopped": func(t *testing.T) away {
		dir := apptest.Dir(t)
		start := func() *embedded.Server {
			server, err := embedded.Start(context.Background(), embedded.Options{DataDir: dir, NoSync: true})
			require.NoError(t, err)
			return server
		}
		server := start()
		t.Cleanup(func() { _ = server.Stop(context.Background()) })
		at := time.Now()
		return away{url: server.ConnString(), goAway: func() {
			noTime, cancel := context.WithDeadline(context.Background(), at)
			defer cancel()
			_ = server.Stop(noTime) // by force, as it is told
		}, comeBack: func() { server = start() }}
	},
	// Everything that is sent is taken and nothing comes back, and links that were there stay so for ever.
	"silent": func(t *testing.T) away {
		proxy, url := pgtest.NewProxy(t, pgtest.URL(t))
		return away{url: url, goAway: func() { proxy.Silence(true) }, comeBack: func() { proxy.Silence(false) }}
	},
}

// Under 50 calls a second the database is away for half a minute. Every call is answered in time, by 503 with what to do;
// what runs goes on, its output is followed, and nothing that was acknowledged is lost or done twice.
func TestAnEngineOutlivesItsDatabaseBeingAway(t *testing.T) {
	t.Parallel()
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			database := way(t)
			e := apptest.Start(t, apptest.WithoutRace(t), apptest.WithEnv("TENURE_DATABASE_URL="+database.url))
			o := newOutage(t, e)
			short := o.start(`i=0; while [ $i -lt 50 ]; do echo $i; i=$((i+1)); sleep 0.1; done`)
			long := o.start(`i=0; while [ ! -e stop ]; do echo $i; i=$((i+1)); sleep 0.1; done`)
			large := o.start(`head -c 200000000 /dev/zero | tr '\0' x`)
			watched, followed := o.watch(large), o.tail(long)
			events := o.follow()

			o.load(time.Second)
			gone := time.Now()
			database.goAway()
			o.load(awayFor)
			database.comeBack()
			back := time.Now()
			for o.load(worksFor); time.Since(back) < o.pace.stretched(backWithin)+worksFor; {
				o.load(time.Second)
			}
			backWithin := o.pace.stretched(backWithin)

			refused, meanwhile := 0, 0
			for _, a := range o.answers.all() {
				if a.err != nil {
					refused++
				}
				end := a.began.Add(a.took)
				if a.began.After(gone) && a.began.Before(back) {
					meanwhile++
				}
				if end.Before(gone) || a.began.After(back.Add(backWithin)) {
					require.NoError(t, a.err, "%s, %s after the outage", a.what, a.began.Sub(back))
				}
				if a.what == "acquire" && a.began.After(gone) && end.Before(back) {
					require.Error(t, a.err, "an append without a database")
				}
			}
			requireBearable(t, o.answers.all(), o.pace.stretched(answerWithin))
			require.Greater(t, refused, meanwhile/3)
			require.Greater(t, meanwhile, 30, "calls were made all the while")

			o.requireNothingLostOrDoubled()
			for _, l := range o.held {
				got, err := e.Client.Lease(t.Context(), l.ID)
				require.NoError(t, err)
				require.Equal(t, wire.LeaseActive, got.Status)
			}
			_, _, _ = e.Run(o.held[0].ID, wire.StartExec{Argv: []string{"touch", "stop"}})
			for _, x := range []wire.Exec{e.Ended(short), e.Ended(long), e.Ended(large)} {
				require.Equal(t, wire.EndExited, x.Result.End)
				require.Equal(t, 0, *x.Result.ExitCode)
				require.Equal(t, "complete", x.Output.State)
			}
			require.Equal(t, 50, o.lines(short))
			require.Greater(t, o.lines(long), int(awayFor/(500*time.Millisecond)))
			require.Equal(t, o.lines(long), <-followed, "an output is followed in one answer")
			require.Equal(t, e.Ended(large).Output.Stdout.SHA256, watched())
			o.requireGapless(events)
			t.Logf("limits of 1 s were stretched to %s", o.pace.stretched(time.Second).Round(time.Millisecond))
			t.Logf("%d calls, %d refused, peak memory %d MiB", len(o.answers.all()), refused, peakMemory(t, e.PID())>>20)
			require.Less(t, peakMemory(t, e.PID()), peak)
		})
	}
}

// outage is an engine, what runs on it and who calls it while its database goes away.
type outage struct {
	t       *testing.T
	e       *apptest.Engine
	c       *client.Client
	tenant  apptest.Tenant
	held    []wire.Lease
	answers answers
	calls   int
	pace    pace

	mu       sync.Mutex
	acquired map[string]uuid.UUID
	keys     []string
}

func newOutage(t *testing.T, e *apptest.Engine) *outage {
	t.Helper()
	o := &outage{t: t, e: e, c: impatient(t, e), acquired: map[string]uuid.UUID{}}
	const held = 3
	room := 100_000 // a slow machine is watched for longer, and more come to wait in that time
	o.tenant = e.Tenant(wire.AddEnvironment{MaxLeases: held, MaxQueued: &room})
	for range held {
		o.held = append(o.held, e.Acquire(o.tenant, wire.AcquireLease{}).Lease)
	}
	return o
}

func (o *outage) start(script string) uuid.UUID {
	o.t.Helper()
	x, err := o.e.Client.StartExec(o.t.Context(), o.held[0].ID, o.held[0].Fence, wire.StartExec{Argv: []string{"sh", "-c", script}})
	require.NoError(o.t, err)
	return x.ID
}

// load makes calls of all kinds for a while, without waiting for their answers.
func (o *outage) load(d time.Duration) {
	end := time.After(d)
	ticker := time.NewTicker(callEvery)
	defer ticker.Stop()
	for {
		select {
		case <-end:
			return
		case <-ticker.C:
			what, do := o.next()
			o.answers.call(what, do)
			if o.calls%lookEvery == 0 {
				o.pace.look()
			}
		}
	}
}

func (o *outage) next() (what string, do func() error) {
	o.calls++
	ctx, lease := o.t.Context(), o.held[o.calls%len(o.held)]
	switch o.calls % 5 {
	case 0:
		key := uuid.NewString()
		o.keys = append(o.keys, key)
		return "acquire", func() error { return o.acquire(o.c, key) }
	case 1:
		return "renew", func() error { _, err := o.c.RenewLease(ctx, lease.ID, lease.Fence); return err }
	case 2:
		return "list leases", func() error {
			_, err := o.c.Leases(ctx, o.tenant.Company.ID, client.LeaseFilter{}, client.Page("", 10))
			return err
		}
	case 3:
		return "list events", func() error { _, err := o.c.Events(ctx, client.Page("", 10)); return err }
	default:
		return "lease", func() error { _, err := o.c.Lease(ctx, lease.ID); return err }
	}
}

// acquire asks for a lease, which only gets a place in the queue, and holds every answer of one key to be the same.
func (o *outage) acquire(c *client.Client, key string) error {
	got, _, err := c.AcquireLease(o.t.Context(), o.tenant.Company.ID,
		wire.AcquireLease{EnvironmentID: o.tenant.Environment.ID, HeartbeatRunID: key}, client.IdempotencyKey(key))
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if before, ok := o.acquired[key]; ok {
		assert.Equal(o.t, before, got.Lease.ID, "the same key, another lease")
	}
	o.acquired[key] = got.Lease.ID
	return nil
}

// requireNothingLostOrDoubled repeats every command under its key; then there is one lease for each, and no other.
func (o *outage) requireNothingLostOrDoubled() {
	o.t.Helper()
	var group sync.WaitGroup
	keys := make(chan string)
	for range 8 {
		group.Go(func() {
			for key := range keys {
				assert.NoError(o.t, o.acquire(o.e.Client, key))
			}
		})
	}
	for _, key := range o.keys {
		keys <- key
	}
	close(keys)
	group.Wait()
	missing := map[uuid.UUID]bool{}
	for _, id := range o.acquired {
		missing[id] = true
	}
	require.Len(o.t, missing, len(o.keys), "each command has a lease of its own")
	for _, l := range o.held {
		missing[l.ID] = true
	}
	end := o.end()
	for after, more := "", true; more; {
		page, err := o.e.Client.Leases(o.t.Context(), o.tenant.Company.ID, client.LeaseFilter{}, client.Page(after, 500), client.MinPosition(end))
		require.NoError(o.t, err)
		for _, l := range page.Items {
			require.True(o.t, missing[l.ID], "lease %s is nobody's", l.ID)
			delete(missing, l.ID)
		}
		if more = page.Next != nil; more {
			after = *page.Next
		}
	}
	require.Empty(o.t, missing)
}

// end is the end of the log.
func (o *outage) end() int64 {
	o.t.Helper()
	page, err := o.e.Client.Events(o.t.Context(), client.Page("", 1))
	require.NoError(o.t, err)
	return page.Position
}

func (o *outage) lines(exec uuid.UUID) (n int) {
	o.t.Helper()
	body, err := o.e.Client.RawOutput(o.t.Context(), exec, client.OutputOptions{})
	require.NoError(o.t, err)
	defer body.Close()
	for lines := bufio.NewScanner(body); lines.Scan(); n++ {
		require.Equal(o.t, strconv.Itoa(n), lines.Text())
	}
	return n
}

// tail follows an output as it grows; how many lines came in that one answer is on the channel once it ends.
func (o *outage) tail(exec uuid.UUID) <-chan int {
	o.t.Helper()
	body, err := o.e.Client.RawOutput(o.t.Context(), exec, client.OutputOptions{Follow: true})
	require.NoError(o.t, err)
	o.t.Cleanup(func() { body.Close() })
	came := make(chan int, 1)
	go func() {
		n := 0
		for lines := bufio.NewScanner(body); lines.Scan(); {
			n++
		}
		came <- n
	}()
	return came
}

// watch reads an output slowly, in one answer, and has it read by two more: one that takes nothing and one that goes away.
// What it returns reads the rest and is the hash of the whole.
func (o *outage) watch(exec uuid.UUID) (whole func() string) {
	o.t.Helper()
	open := func() io.ReadCloser {
		body, err := o.e.Client.RawOutput(o.t.Context(), exec, client.OutputOptions{Follow: true, Stream: "stdout"})
		require.NoError(o.t, err)
		o.t.Cleanup(func() { body.Close() })
		return body
	}
	open()
	leaves := open()
	_, err := io.CopyN(io.Discard, leaves, 1_000_000)
	require.NoError(o.t, err)
	leaves.Close()
	sum, body := sha256.New(), open()
	stop, stopped := make(chan struct{}), make(chan error, 1)
	go func() { stopped <- readSlowly(sum, body, stop) }()
	return func() string {
		close(stop)
		require.NoError(o.t, <-stopped)
		_, err := io.Copy(sum, body)
		require.NoError(o.t, err)
		return hex.EncodeToString(sum.Sum(nil))
	}
}

// readSlowly takes 2 MB a second.
func readSlowly(to hash.Hash, body io.Reader, stop <-chan struct{}) error {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-stop:
			return nil
		case <-ticker.C:
			if _, err := io.CopyN(to, body, 20_000); err != nil {
				return fmt.Errorf("the output was cut: %w", err)
			}
		}
	}
}

// follow keeps one stream of the whole log open; the positions that it says come on the channel, which ends with it.
func (o *outage) follow() <-chan int64 {
	o.t.Helper()
	req, err := http.NewRequestWithContext(o.t.Context(), http.MethodGet, o.c.BaseURL()+"/api/v1/events?after=0", http.NoBody)
	require.NoError(o.t, err)
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Authorization", "Bearer "+o.e.Key)
	resp, err := (&http.Client{}).Do(req)
	require.NoError(o.t, err)
	require.Equal(o.t, http.StatusOK, resp.StatusCode)
	o.t.Cleanup(func() { resp.Body.Close() })
	positions := make(chan int64, 100_000)
	go func() {
		defer close(positions)
		for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
			if id, ok := strings.CutPrefix(lines.Text(), "id: "); ok {
				_, position, _ := strings.Cut(id, "-")
				n, _ := strconv.ParseInt(position, 10, 64)
				positions <- n
			}
		}
	}()
	return positions
}

// requireGapless reads a stream up to the end of the log as of now.
func (o *outage) requireGapless(positions <-chan int64) {
	o.t.Helper()
	end, limit := o.end(), time.After(waitLong)
	for want := int64(1); want <= end; want++ {
		select {
		case got, open := <-positions:
			require.True(o.t, open, "the stream was cut at %d", want)
			require.Equal(o.t, want, got)
		case <-limit:
			o.t.Fatalf("the stream says nothing after %d; the log ends at %d", want-1, end)
		}
	}
}
