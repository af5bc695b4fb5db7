package supervisor_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/environment"
	"github.com/tenure-dev/tenure/domain/leak"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/fake"
	"github.com/tenure-dev/tenure/drivers/supervisor"
	"github.com/tenure-dev/tenure/eventstore/commands"
)

// lookers starts processes that count their looks.
func (w *world) lookers(registry *drivers.Registry, n int) (nodes []*node, looks []*tally) {
	w.Helper()
	for range n {
		count := &tally{}
		w.looked = count.add
		nodes, looks = append(nodes, w.prepareWith(registry, supervisor.Options{ReapInterval: time.Minute})), append(looks, count)
		require.NoError(w, nodes[len(nodes)-1].Start(w.Context()))
	}
	return nodes, looks
}

func TestEachPlaceIsLookedAtByOneOfTheProcessesThatHaveItsDriver(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		registry, err := drivers.NewRegistry(w.driver)
		require.NoError(t, err)
		const places = 24 // with the world's own
		for i := range places - 1 {
			w.place(fmt.Sprintf(`{"region":"%d"}`, i))
		}
		nodes, looks := w.lookers(registry, 3)
		other, err := drivers.NewRegistry(fake.New(fake.Options{Name: "other"}))
		require.NoError(t, err)
		_, none := w.lookers(other, 1)
		w.pass(70 * time.Second)
		total := int64(0)
		for _, l := range looks {
			require.NotZero(t, l.of("fake"))
			total += l.of("fake")
		}
		require.EqualValues(t, places, total, "each once")
		require.Zero(t, none[0].of("fake"))

		nodes[0].crash()
		before := looks[1].of("fake") + looks[2].of("fake")
		w.pass(70 * time.Second)
		require.EqualValues(t, places, looks[1].of("fake")+looks[2].of("fake")-before, "the others look at what was a dead one's")
	})
}

// Whoever looks after a place that another one looked after has to see a thing twice itself.
func TestALeakIsDestroyedThoughTheOneThatSawItFirstIsGone(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		registry, err := drivers.NewRegistry(w.driver)
		require.NoError(t, err)
		nodes, looks := w.lookers(registry, 2)
		unknown := domain.RuntimeID{UUID: uuid.New()}
		w.appears(w.label(unknown))
		w.pass(70 * time.Second)
		require.Equal(t, leak.StatusOpen, w.leak(unknown).Status)
		first := slices.IndexFunc(looks, func(l *tally) bool { return l.of("fake") > 0 })
		nodes[first].crash()
		w.pass(70 * time.Second)
		require.Len(t, w.driver.Live(), 1)
		w.pass(70 * time.Second)
		require.Empty(t, w.driver.Live())
		require.Equal(t, leak.ProofDestroyed, w.leak(unknown).Cleared.Proof)
	})
}

func TestEachNodeLooksAtWhatIsOnlyThere(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		registry, err := drivers.NewRegistry(boundDriver{w.driver})
		require.NoError(t, err)
		_, looks := w.lookers(registry, 3)
		w.pass(70 * time.Second)
		for _, l := range looks {
			require.EqualValues(t, 1, l.of("fake"))
		}
	})
}

// place registers an environment with a configuration of its own.
func (w *world) place(config string) {
	w.Helper()
	id := domain.EnvironmentID{UUID: uuid.New()}
	_, err := w.client.RegisterEnvironment(w.Context(), commands.Caller{}, id, environment.Registered{
		Company: w.company, Name: "env-" + id.String(), Driver: "fake", Config: []byte(config),
	}, commands.NoSecretFields)
	require.NoError(w, err)
}

// tally counts looks by driver.
type tally struct {
	mu sync.Mutex
	n  map[string]int64
}

func (c *tally) add(l supervisor.Look) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[string]int64{}
	}
	c.n[l.Driver]++
}

func (c *tally) of(driver string) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n[driver]
}
