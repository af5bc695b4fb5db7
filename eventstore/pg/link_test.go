package pg_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/eventstoretest"
	"github.com/tenure-dev/tenure/eventstore/pg"
	"github.com/tenure-dev/tenure/migrations"
	"github.com/tenure-dev/tenure/migrations/pgtest"
)

// appendStatement is on the link of every writer, and on no other one.
const appendStatement = "CALL append_"

// way is an append that a certain procedure writes.
type way struct {
	expect eventstore.Expect
	events int
}

// ways are all of them: the log judges what the writer does not know of, the writer judges the rest.
var ways = map[string]way{"append_batch": {eventstore.Any, 1}, "append_next": {eventstore.NoStream, 2}, "append_one": {eventstore.NoStream, 1}}

func (w way) append(n int) eventstore.Append {
	a := eventstoretest.One(eventstoretest.NewStream(), w.expect, n)
	for len(a.Events) < w.events {
		a.Events = append(a.Events, eventstoretest.Event(a.Events[0].Stream, n))
	}
	return a
}

// warm makes a writer's link ready for all procedures, however short the time is that it has for each.
func warm(t *testing.T, s eventstore.Appender) {
	t.Helper()
	for range 3 {
		resolve(t, s, ways["append_next"].append(0))
		resolve(t, s, ways["append_one"].append(0))
	}
}

// warmEvents is how many events that makes.
const warmEvents = 9

// spoiled is a store whose link goes through a proxy, and another one that sees the log without it.
type spoiled struct {
	*pg.Store
	proxy  *pgtest.Proxy
	direct *pg.Store
	// proxied is the way through the proxy.
	proxied string
}

// beside is another store whose link goes through the proxy.
func (s spoiled) beside(t *testing.T, mode pgx.QueryExecMode, opts pg.Options) *pg.Store {
	t.Helper()
	return openMode(t, s.proxied, mode, opts)
}

func openSpoiled(t *testing.T, mode pgx.QueryExecMode, opts pg.Options) spoiled {
	t.Helper()
	url := pgtest.URL(t)
	direct := pgtest.Connect(t, url)
	require.NoError(t, migrations.Up(t.Context(), direct))
	proxy, proxied := pgtest.NewProxy(t, url)
	s := spoiled{proxy: proxy, proxied: proxied, Store: openMode(t, proxied, mode, opts), direct: openPool(t, direct, pg.Options{})}
	warm(t, s.Store)
	return s
}

func openMode(t *testing.T, url string, mode pgx.QueryExecMode, opts pg.Options) *pg.Store {
	t.Helper()
	config, err := pgxpool.ParseConfig(url)
	require.NoError(t, err)
	config.ConnConfig.DefaultQueryExecMode = mode
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return openPool(t, pool, opts)
}

func openPool(t *testing.T, pool *pgxpool.Pool, opts pg.Options) *pg.Store {
	t.Helper()
	s, err := pg.Open(context.Background(), pool, opts)
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s
}

// traps are all the ways to spoil the n-th message of one side.
func traps(from pgtest.Side, n int) (out []pgtest.Trap) {
	for _, silent := range []bool{false, true} {
		for _, half := range []bool{false, true} {
			out = append(out, pgtest.Trap{Statement: appendStatement, From: from, Message: n, Silent: silent, Half: half})
		}
	}
	return out
}

// eachMessage calls test for every way to spoil each message of an append, until there is no such message, and returns
// their types.
func eachMessage(t *testing.T, from pgtest.Side, test func(trap pgtest.Trap) (sprung bool, kind byte)) (kinds string) {
	t.Helper()
	for n := 0; ; n++ {
		for _, trap := range traps(from, n) {
			sprung, kind := test(trap)
			if !sprung {
				return kinds
			}
			if !trap.Silent && !trap.Half {
				kinds += string(kind)
			}
		}
	}
}

func sprung(trap *pgtest.Trap) bool {
	select {
	case <-trap.Sprung():
		return true
	default:
		return false
	}
}

var sides = map[pgtest.Side]string{pgtest.FromClient: "the client", pgtest.FromServer: "the server"}

var execModes = map[pgx.QueryExecMode]struct{ client, server string }{
	// Bind, Execute, Sync; the answers to them. The other mode parses and describes each time.
	pgx.QueryExecModeCacheStatement: {"BES", "2DCZ"},
	pgx.QueryExecModeCacheDescribe:  {"PBDES", "12TDCZ"},
}

// Case A23: whatever message of an append the link breaks at, the append happens once and its caller is told so.
func TestAnAppendWhoseLinkBreaksAtAnyMessageHappensOnce(t *testing.T) {
	t.Parallel()
	for mode, want := range execModes {
		for from, name := range sides {
			for procedure, way := range ways {
				t.Run(fmt.Sprintf("%s, %s, from %s", procedure, mode, name), func(t *testing.T) {
					t.Parallel()
					// A silent link is given up soon. Where that is not needed there is time, so that no call is made twice, whose
					// messages would be counted.
					s := openSpoiled(t, mode, pg.Options{PollInterval: time.Hour, CallTimeout: 200 * time.Millisecond})
					patient := s.beside(t, mode, pg.Options{PollInterval: time.Hour, CallTimeout: time.Minute})
					events := len(eventstoretest.All(t, s.direct))
					kinds := eachMessage(t, from, func(trap pgtest.Trap) (bool, byte) {
						store := patient
						if trap.Silent {
							store = s.Store
						}
						// Let the trap find a link that is warm, of a writer that takes itself to be alone.
						warm(t, store)
						events += warmEvents
						set := s.proxy.Set(&trap)
						r := eventstoretest.Must(t, store, way.append(events))
						require.Equal(t, int64(events+1), r.First, "the caller's answer is what the log has")
						events += way.events
						s.proxy.Set(&pgtest.Trap{Statement: "nothing has this"})
						return sprung(set), set.Kind()
					})
					wanted := want.client
					if from == pgtest.FromServer {
						wanted = want.server
					}
					require.Equal(t, wanted, kinds, "every message was reached")
					require.Len(t, eventstoretest.All(t, s.direct), events)
				})
			}
		}
	}
}

// The link breaks and stays broken: what the caller is told is true, now and later, and the same append resolves it.
func TestAnAppendWhoseLinkStaysBrokenIsNeverSaidToBeDoneOrUndoneFalsely(t *testing.T) {
	t.Parallel()
	for from, name := range sides {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openSpoiled(t, pgx.QueryExecModeCacheDescribe, pg.Options{
				PollInterval: time.Hour, CallTimeout: 300 * time.Millisecond, AppendTimeout: 50 * time.Millisecond,
			})
			before := int64(len(eventstoretest.All(t, s.direct)))
			stream, version := eventstoretest.NewStream(), int64(0)
			eachMessage(t, from, func(trap pgtest.Trap) (bool, byte) {
				set := s.proxy.Set(&trap)
				a := eventstoretest.One(stream, eventstore.Exactly(version), int(version))
				waiting := s.Submit(a)
				select {
				case <-set.Sprung():
					s.proxy.Refuse(true)
				case <-done(waiting):
				}
				r, err := waiting.Wait(t.Context())
				has := holds(t, s.direct, a.ID)
				switch {
				case err == nil:
					require.True(t, has, "said to be done")
					require.Equal(t, before+version+1, r.First)
				case errors.Is(err, eventstore.ErrUnavailable):
					require.False(t, has, "said not to be done")
				default:
					require.ErrorIs(t, err, eventstore.ErrUnknownOutcome)
				}
				s.proxy.Refuse(false)
				again := resolve(t, s.Store, a)
				version++
				require.Equal(t, before+version, again.First)
				return sprung(set), set.Kind()
			})
			require.Len(t, eventstoretest.All(t, s.direct), int(before+version))
		})
	}
}

// resolve repeats an append until its outcome is known.
func resolve(t *testing.T, s eventstore.Appender, a eventstore.Append) eventstore.Result {
	t.Helper()
	for {
		r, err := s.Submit(a).Wait(t.Context())
		if !errors.Is(err, eventstore.ErrUnknownOutcome) && !errors.Is(err, eventstore.ErrUnavailable) {
			require.NoError(t, err)
			return r
		}
	}
}

// done is closed when an append has its outcome.
func done(p eventstore.Pending) <-chan struct{} {
	ch := make(chan struct{})
	go func() {
		defer close(ch)
		_, _ = p.Wait(context.Background())
	}()
	return ch
}

func holds(t *testing.T, s eventstore.Reader, id uuid.UUID) bool {
	t.Helper()
	for _, r := range eventstoretest.All(t, s) {
		if r.AppendID == id {
			return true
		}
	}
	return false
}

// A warning says that the transaction may have ended in another way than the answer reads, so the answer is not believed.
func TestAWarningMakesTheOutcomeUnknownAndTheAppendIsSentAgain(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	_, err := pool.Exec(t.Context(), `
		CREATE FUNCTION warn() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN RAISE WARNING 'the standby does not answer'; RETURN NULL; END $$;
		CREATE TRIGGER warn AFTER INSERT ON events FOR EACH ROW EXECUTE FUNCTION warn()`)
	require.NoError(t, err)
	s := openPool(t, pool, pg.Options{})
	r := eventstoretest.Must(t, s, eventstoretest.One(eventstoretest.NewStream(), eventstore.NoStream, 1))
	require.True(t, r.Replayed, "the first answer was not believed")
	require.Equal(t, int64(1), r.First)
}

// A role's lock_timeout is nobody's conflict and no fault of the append.
func TestALockThatIsNotGrantedInTimeIsAskedForAgain(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	pool := pgtest.Connect(t, url)
	require.NoError(t, migrations.Up(t.Context(), pool))
	asked := make(signals, 100)
	s := openPool(t, pgtest.Connect(t, url+` lock_timeout=50ms`), pg.Options{Logger: slog.New(slog.NewTextHandler(asked, nil))})
	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), `SELECT pg_advisory_xact_lock(append_lock_key())`)
	require.NoError(t, err)
	waiting := s.Submit(eventstoretest.One(eventstoretest.NewStream(), eventstore.NoStream, 1))
	<-asked
	<-asked
	require.NoError(t, tx.Rollback(t.Context()))
	_, err = waiting.Wait(t.Context())
	require.NoError(t, err)
}

// signals gets one for each line of a log, as far as there is room.
type signals chan struct{}

func (s signals) Write(p []byte) (int, error) {
	select {
	case s <- struct{}{}:
	default:
	}
	return len(p), nil
}
