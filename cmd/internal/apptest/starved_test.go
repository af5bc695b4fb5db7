package apptest_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/cmd/internal/apptest"
)

// answer is what became of one call.
type answer struct {
	what  string
	began time.Time
	took  time.Duration
	err   error
}

// answers collects those of calls made at the same time.
type answers struct {
	mu    sync.Mutex
	list  []answer
	calls sync.WaitGroup
}

// call makes a call in a goroutine of its own.
func (a *answers) call(what string, do func() error) { a.calls.Go(func() { _ = a.make(what, do) }) }

// make makes a call and returns its error.
func (a *answers) make(what string, do func() error) error {
	began := time.Now()
	err := do()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.list = append(a.list, answer{what: what, began: began, took: time.Since(began), err: err})
	return err
}

// all waits for those under way.
func (a *answers) all() []answer {
	a.calls.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.list
}

// bearable reports whether an error, if there is one, is a clear "not now": 503, with a code, what to do, and when.
func bearable(err error) bool {
	if err == nil {
		return true
	}
	p, ok := errors.AsType[*client.Problem](err)
	return ok && p.Status == 503 && p.Code != "" && p.Remediation != "" && p.RetryAfter > 0
}

// requireBearable fails for every answer that is none or took longer than limit, and counts the refusals.
func requireBearable(t *testing.T, all []answer, limit time.Duration) (refused int) {
	t.Helper()
	for _, a := range all {
		if a.err != nil {
			refused++
		}
		if !bearable(a.err) {
			p, _ := errors.AsType[*client.Problem](a.err)
			t.Errorf("%s: %v %+v", a.what, a.err, p)
		}
		if !assert.Less(t, a.took, limit, a.what) || t.Failed() {
			t.FailNow()
		}
	}
	return refused
}

// impatient is a client that repeats nothing by itself: an answer that a patient one would hide counts.
func impatient(t *testing.T, e *apptest.Engine) *client.Client {
	t.Helper()
	c, err := client.New(e.Client.BaseURL(), e.Key, client.WithoutRetries())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdleConnections)
	return c
}
