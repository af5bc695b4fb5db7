package pg_test

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/eventstoretest"
	"github.com/tenure-dev/tenure/eventstore/pg"
	"github.com/tenure-dev/tenure/migrations"
	"github.com/tenure-dev/tenure/migrations/pgtest"
)

// othersGoOnWithin is what a frozen process may cost the others, on a busy machine: it stands still for as long as it is looked at.
const othersGoOnWithin = 30 * time.Second

// frozen is a process to freeze behind a proxy, and a store of another process.
type frozen struct {
	t     *testing.T
	proxy *pgtest.Proxy
	other *pg.Store
	child *process
}

func startFrozen(t *testing.T) *frozen {
	t.Helper()
	url := pgtest.URL(t)
	pool := pgtest.Connect(t, url)
	require.NoError(t, migrations.Up(t.Context(), pool))
	proxy, proxied := pgtest.NewProxy(t, url)
	f := &frozen{t: t, proxy: proxy, other: openPool(t, pool, pg.Options{})}
	f.child = startChild(t, childRequest{URL: proxied, CallTimeout: time.Second})
	f.child.next("ready")
	return f
}

// freeze stops the process and returns once it stands still.
func (f *frozen) freeze() {
	f.t.Helper()
	pid := f.child.cmd.Process.Pid
	f.child.signal(syscall.SIGSTOP)
	require.Eventually(f.t, func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		_, rest, _ := strings.Cut(string(stat), ") ")
		return err == nil && strings.HasPrefix(rest, "T")
	}, time.Minute, time.Millisecond)
}

// othersGoOn appends from another process, while the frozen one stands still.
func (f *frozen) othersGoOn() {
	f.t.Helper()
	begun := time.Now()
	for n := range 3 {
		eventstoretest.Must(f.t, f.other, eventstoretest.One(eventstoretest.NewStream(), eventstore.NoStream, n))
	}
	require.Less(f.t, time.Since(begun), othersGoOnWithin)
}

// settled thaws the process and checks its answer against the log.
func (f *frozen) settled(o order) {
	f.t.Helper()
	f.child.signal(syscall.SIGCONT)
	end := f.child.next("end")
	require.Equal(f.t, o.ID, end.ID)
	require.Empty(f.t, end.Error)
	events, err := f.other.ReadStream(f.t.Context(), o.Stream, 0, 0)
	require.NoError(f.t, err)
	require.Len(f.t, events, o.Events, "once")
	require.Equal(f.t, events[0].Position, end.First)
}

func newOrder(size int) order {
	return order{ID: uuid.New(), Stream: eventstoretest.NewStream(), Expect: eventstore.NoStream, Size: size, Events: 1}
}

func TestAProcessFrozenBeforeItsCallHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	f := startFrozen(t)
	f.freeze()
	f.othersGoOn()
	o := newOrder(10)
	f.child.order(o)
	f.settled(o)
}

// The process has sent its call, which waits for the lock; it stands still while its turn comes, and is not missed.
func TestAProcessFrozenInsideItsCallHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	pool := pgtest.Connect(t, url)
	require.NoError(t, migrations.Up(t.Context(), pool))
	f := &frozen{t: t, other: openPool(t, pool, pg.Options{})}
	f.child = startChild(t, childRequest{URL: url, CallTimeout: time.Minute})
	f.child.next("ready")
	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), `SELECT pg_advisory_xact_lock(append_lock_key())`)
	require.NoError(t, err)
	o := newOrder(10)
	f.child.order(o)
	awaitLockQueue(t, pool, 1)
	f.freeze()
	require.NoError(t, tx.Rollback(t.Context()))
	f.othersGoOn()
	events, err := f.other.ReadStream(t.Context(), o.Stream, 0, 0)
	require.NoError(t, err)
	require.Len(t, events, 1, "the server needs nobody to finish the call")
	f.settled(o)
}

// The process stands still with its call half sent, or all of it but the last message, or with the answer on its way. The
// link stays, as it does when a machine is paused.
func TestAProcessFrozenAtAnyMessageOfItsCallHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	for from, name := range sides {
		// A large append does not fit into the buffers between the process and the server.
		for _, size := range []int{10, 250 << 10} {
			for procedure, way := range ways {
				t.Run(fmt.Sprintf("%s, %s, %d bytes", procedure, name, size), func(t *testing.T) {
					t.Parallel()
					f := startFrozen(t)
					for n := range execModesDefault(from) {
						for _, half := range []bool{false, true} {
							// The trap finds a process that takes itself to be alone, on a link that is warm.
							for _, events := range []int{1, 1, 2} {
								warm := newOrder(10)
								warm.Events = events
								f.child.order(warm)
								f.settled(warm)
							}
							trap := f.proxy.Set(&pgtest.Trap{Statement: appendStatement, From: from, Message: n, Half: half, Silent: true})
							o := newOrder(size)
							o.Expect, o.Events = way.expect, way.events
							f.child.order(o)
							<-trap.Sprung()
							f.freeze()
							f.othersGoOn()
							f.settled(o)
						}
					}
				})
			}
		}
	}
}

// execModesDefault is how many messages a side sends for an append in the driver's usual mode.
func execModesDefault(from pgtest.Side) int {
	if from == pgtest.FromClient {
		return 3
	}
	return 4
}
