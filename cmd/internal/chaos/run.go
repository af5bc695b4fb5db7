package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/api/auth"
	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/cmd/internal/check"
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/eventstore/vault"
)

// run is one run, from its first process to its report.
type run struct {
	settings
	stderr io.Writer
	began  time.Time
	// dir has the nodes and the provider; it is removed.
	dir      string
	children children
	db       *database
	admin    string
	keyset   []byte
	nodes    []*node
	// provider is the directory of the provider fake, one for all workers: it is outside of all of them.
	provider string
	places   []place
	calls    *calls
	events   *os.File
	// calm says that faults are over.
	calm atomic.Bool

	transport *http.Transport
	group     sync.WaitGroup
	// scripted is held while the provider goes by a script of everybody's.
	scripted sync.Mutex
	away     away
	// saying is held while something is said.
	saying sync.Mutex

	mu         sync.Mutex
	counts     map[fault]int
	violations []check.Violation
	clones     []check.Clone
	problems   []string
}

// place is an environment of a company.
type place struct{ company, environment uuid.UUID }

// newRun prepares a run: directories, keys and a database. Nothing of the engine runs yet.
func newRun(ctx context.Context, s settings, stderr io.Writer) (*run, error) {
	if err := os.RemoveAll(s.out); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(s.out, 0o755); err != nil {
		return nil, err
	}
	r := &run{settings: s, stderr: stderr, began: time.Now(), counts: map[fault]int{}, transport: &http.Transport{
		DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext, MaxIdleConnsPerHost: s.clients, DisableCompression: true,
	}}
	var err error
	if r.calls, err = newCalls(r.path("calls.jsonl")); err != nil {
		return nil, err
	}
	if r.events, err = os.Create(r.path("faults.jsonl")); err != nil {
		return nil, errors.Join(err, r.calls.close())
	}
	if r.dir, err = os.MkdirTemp("", "tenure-chaos-"); err != nil {
		return nil, errors.Join(err, r.calls.close(), r.events.Close())
	}
	r.provider = filepath.Join(r.dir, "provider")
	// Under root commands and workers of plugins run as other users, who must be able to enter.
	for _, dir := range []string{r.dir, r.provider} {
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.Chmod(dir, 0o755)); err != nil { //nolint:gosec // see above
			return r, err
		}
	}
	if err := r.makeKeys(); err != nil {
		return r, err
	}
	r.db, err = newDatabase(ctx)
	return r, err
}

// makeKeys makes what all processes share: a keyset, and the first admin key.
func (r *run) makeKeys() error {
	keys, err := vault.NewKeyset()
	if err != nil {
		return err
	}
	if r.keyset, err = keys.Encode(); err != nil {
		return err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	r.admin = auth.NewKey(domain.KeyID{UUID: id}).Reveal()
	return nil
}

// path is a file that is kept.
func (r *run) path(name string) string { return filepath.Join(r.out, name) }

// workerArgs let a worker be impatient, as a run is short.
var workerArgs = []string{"--provision-timeout", "6s", "--release-timeout", "6s", "--reap-interval", "3s", "--cleanup-attempts", "40"}

// newNode makes a machine, with a clock that is right and a way to a database.
func (r *run) newNode(name string, v verb, database *gate, provider string) (_ *node, err error) {
	n := &node{run: r, name: name, verb: v, database: database, changed: make(chan struct{}), random: randomOf(r.seed, hash(name))}
	if n.log, err = os.Create(r.path(name + ".log")); err != nil {
		return nil, err
	}
	if err = r.equip(n, name, provider); err == nil && v == verbAPI {
		n.front, err = newGate("tcp", "127.0.0.1:1") // where it leads, its process will say
	}
	if err != nil {
		return nil, errors.Join(err, n.log.Close())
	}
	return n, nil
}

// equip gives a node a data directory that no process has used yet.
func (r *run) equip(n *node, machine, provider string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dataDir = filepath.Join(r.dir, machine, "data")
	state := filepath.Join(n.dataDir, "plugins", "state")
	for _, dir := range []string{filepath.Dir(n.dataDir), n.dataDir, filepath.Dir(state), state} {
		if err := errors.Join(os.MkdirAll(dir, 0o711), os.Chmod(dir, 0o711)); err != nil {
			return err
		}
	}
	if n.verb == verbWorker {
		if err := os.Symlink(provider, filepath.Join(state, "fake")); err != nil {
			return err
		}
	}
	for name, content := range map[string][]byte{vault.FileName: r.keyset, "admin.key": []byte(r.admin + "\n")} {
		if err := os.WriteFile(filepath.Join(n.dataDir, name), content, 0o600); err != nil {
			return err
		}
	}
	return n.setClock(0)
}

// of are the nodes of a verb.
func (r *run) of(v verb) (some []*node) {
	for _, n := range r.nodes {
		if n.verb == v {
			some = append(some, n)
		}
	}
	return some
}

// start starts every node, and returns when all serve. They are tended as long as life lasts.
func (r *run) start(ctx, life context.Context) error {
	for _, group := range []struct {
		verb verb
		n    int
	}{{verbWorker, r.workers}, {verbAPI, r.api}} {
		for i := range group.n {
			way, err := r.db.gate()
			if err != nil {
				return err
			}
			n, err := r.newNode(fmt.Sprintf("%s-%d", group.verb, i+1), group.verb, way, r.provider)
			if err != nil {
				return err
			}
			r.nodes = append(r.nodes, n)
		}
	}
	for _, n := range r.nodes {
		r.group.Go(func() { n.tend(life) })
	}
	return within(ctx, startLimit, r.allUp)
}

func (r *run) allUp(ctx context.Context) error {
	for _, n := range r.nodes {
		if err := n.up(ctx); err != nil {
			return err
		}
	}
	return nil
}

// anyAPI is a client of an API server by chance, through its gate.
func (r *run) anyAPI(random *rand.Rand) *client.Client {
	apis := r.of(verbAPI)
	return r.clientOf(apis[random.IntN(len(apis))], r.transport)
}

func (r *run) clientOf(n *node, t *http.Transport) *client.Client {
	c, err := client.New(fmt.Sprintf("http://127.0.0.1:%d", n.front.port()), r.admin, client.WithoutRetries(),
		client.WithHTTPClient(&http.Client{Transport: witness{t}}))
	if err != nil {
		panic(err) // an address of ours is one
	}
	return c
}

func (r *run) wants(f fault) bool { return slices.Contains(r.faults, f) && !r.calm.Load() }

// count counts a fault.
func (r *run) count(f fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts[f]++
}

// violate notes a violation that the harness saw itself, while it could be seen.
func (r *run) violate(rule check.Rule, subject, detail string) {
	r.say("VIOLATION %s: %s: %s", rule, subject, detail)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.violations = append(r.violations, check.Violation{Rule: rule, Subject: subject, Detail: detail})
}

// wrong notes that the run itself went wrong.
func (r *run) wrong(what string, err error) {
	r.say("ERROR %s: %s", what, err)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.problems = append(r.problems, fmt.Sprintf("%s: %s", what, err))
}

// say tells whoever watches.
func (r *run) say(format string, args ...any) {
	r.saying.Lock()
	defer r.saying.Unlock()
	fmt.Fprintf(r.stderr, "%6.1fs %s\n", time.Since(r.began).Seconds(), fmt.Sprintf(format, args...))
}

// tell writes down what was done to whom.
func (r *run) tell(what, whom, how string) {
	line, err := json.Marshal(struct {
		At   time.Time `json:"at"`
		What string    `json:"what"`
		Whom string    `json:"whom"`
		How  string    `json:"how"`
	}{time.Now().UTC(), what, whom, how})
	if err == nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		_, _ = r.events.Write(append(line, '\n'))
	}
}

// stopTime is for how long a process is stopped: mostly for seconds, at times for half a minute, if the run is long enough.
func (r *run) stopTime(random *rand.Rand) time.Duration {
	most := 6 * time.Second
	if random.IntN(3) == 0 {
		most = 30 * time.Second
	}
	most = max(min(most, r.duration/4), 1500*time.Millisecond)
	return time.Second + time.Duration(random.Int64N(int64(most-time.Second)))
}
