package pg_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/eventstoretest"
	"github.com/tenure-dev/tenure/eventstore/pg"
	"github.com/tenure-dev/tenure/migrations/pgtest"
)

// childVar makes the test binary a process that appends, so that tests can freeze and kill one.
const childVar = "TENURE_PG_TEST_CHILD"

func TestMain(m *testing.M) {
	if text := os.Getenv(childVar); text != "" {
		os.Exit(childMain(text))
	}
	pgtest.Main(m)
}

// childRequest says what the child does.
type childRequest struct {
	URL         string
	CallTimeout time.Duration
	// Writers append on their own until the input ends; none appends what the input says.
	Writers int
	Seed    uint64
	Shared  eventstore.Stream
}

// order is a line of the child's input: an append of events with a payload of Size bytes together to a stream.
type order struct {
	ID     uuid.UUID
	Stream eventstore.Stream
	Expect eventstore.Expect
	Size   int
	Events int
}

// report is a line of the child's output.
type report struct {
	// What is ready, try (before an append is submitted) or end.
	What   string
	ID     uuid.UUID
	Events int
	First  int64
	Error  string
	// Conflict and Replayed are kinds of an end.
	Conflict, Replayed bool
}

func childMain(text string) int {
	var request childRequest
	if err := json.Unmarshal([]byte(text), &request); err != nil {
		return 2
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	pool, err := pgxpool.New(ctx, request.URL)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	defer pool.Close()
	s, err := pg.Open(ctx, pool, pg.Options{CallTimeout: request.CallTimeout, PollInterval: time.Hour})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	defer s.Close()
	c := &child{store: s, request: request, out: json.NewEncoder(os.Stdout)}
	// The writer's connection is there before the first order.
	if _, err := s.Submit(eventstoretest.One(eventstoretest.NewStream(), eventstore.NoStream, 0)).Wait(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	c.say(report{What: "ready"})
	var writers sync.WaitGroup
	for n := range request.Writers {
		writers.Go(func() { c.write(ctx, rand.New(rand.NewPCG(request.Seed, uint64(n)))) })
	}
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		var o order
		if err := json.Unmarshal(in.Bytes(), &o); err != nil {
			return 2
		}
		a := eventstoretest.One(o.Stream, o.Expect, 0)
		a.ID = o.ID
		for len(a.Events) < o.Events {
			a.Events = append(a.Events, eventstoretest.Event(o.Stream, 0))
		}
		a.Events[0].Payload = []byte(`"` + strings.Repeat("x", o.Size) + `"`)
		c.append(a)
	}
	cancel()
	writers.Wait()
	return 0
}

type child struct {
	store   *pg.Store
	request childRequest
	mu      sync.Mutex
	out     *json.Encoder
}

func (c *child) say(r report) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.out.Encode(r); err != nil {
		os.Exit(3)
	}
}

// append says what it tries before it does and how it ended.
func (c *child) append(a eventstore.Append) (done bool) {
	c.say(report{What: "try", ID: a.ID, Events: len(a.Events)})
	r, err := c.store.Submit(a).Wait(context.Background())
	end := report{What: "end", ID: a.ID, Events: len(a.Events), First: r.First, Replayed: r.Replayed, Conflict: errors.Is(err, eventstore.ErrConflict)}
	if err != nil {
		end.Error = err.Error()
	}
	c.say(end)
	return err == nil
}

// write appends to a stream of its own, with pauses, with conflicts, and now and then the same thing again.
func (c *child) write(ctx context.Context, dice *rand.Rand) {
	stream, version := eventstoretest.NewStream(), int64(0)
	var last *eventstore.Append
	for ctx.Err() == nil {
		a := eventstoretest.One(stream, eventstore.Exactly(version), int(version))
		for len(a.Events) <= dice.IntN(8) {
			a.Events = append(a.Events, eventstoretest.Event(stream, int(version)+len(a.Events)))
		}
		shared := eventstore.Expectation{Stream: c.request.Shared, Expect: eventstore.Any}
		switch dice.IntN(10) {
		case 0:
			shared.Expect = eventstore.NoStream // a conflict
		case 1:
			a.Events = append(a.Events, eventstoretest.Event(shared.Stream, 0))
		case 2:
			if last != nil {
				c.append(*last)
				continue
			}
		}
		a.Expect = append(a.Expect, shared)
		if c.append(a) {
			for _, e := range a.Events {
				if e.Stream == stream {
					version++
				}
			}
			last = &a
		}
		select {
		case <-time.After(time.Duration(dice.IntN(20)) * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// process is a child as its parent sees it.
type process struct {
	t       *testing.T
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	reports chan report
}

func startChild(t *testing.T, request childRequest) *process {
	t.Helper()
	text, err := json.Marshal(request)
	require.NoError(t, err)
	p := &process{t: t, cmd: exec.CommandContext(context.Background(), "/proc/self/exe"), reports: make(chan report, 10_000)}
	p.cmd.Env = append(os.Environ(), childVar+"="+string(text))
	p.cmd.Stderr = os.Stderr
	p.stdin, err = p.cmd.StdinPipe()
	require.NoError(t, err)
	out, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer close(p.reports)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			var r report
			if json.Unmarshal(lines.Bytes(), &r) == nil {
				p.reports <- r
			}
		}
	}()
	t.Cleanup(func() {
		p.signal(syscall.SIGKILL)
		for range p.reports {
		}
		<-ended
		_ = p.cmd.Wait()
	})
	return p
}

func (p *process) signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) }

// next is the next report of a kind.
func (p *process) next(what string) report {
	p.t.Helper()
	limit := time.After(3 * time.Minute)
	for {
		select {
		case r, ok := <-p.reports:
			require.True(p.t, ok, "the child ended")
			if r.What == what {
				return r
			}
		case <-limit:
			require.FailNow(p.t, "the child says nothing", what)
		}
	}
}

func (p *process) order(o order) {
	p.t.Helper()
	text, err := json.Marshal(o)
	require.NoError(p.t, err)
	_, err = p.stdin.Write(append(text, '\n'))
	require.NoError(p.t, err)
}
