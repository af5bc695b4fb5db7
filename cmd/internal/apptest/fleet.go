package apptest

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/auth"
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/eventstore/vault"
)

// Fleet is several processes on one database, each with a data directory of its own, as an operator sets them up: all have
// the same keyset and the same first admin key.
type Fleet []*Engine

// StartFleet starts processes at once: one for each verb, with the options that are for all.
func StartFleet(t testing.TB, url string, verbs []string, opts ...Option) Fleet {
	t.Helper()
	keys, err := vault.NewKeyset()
	require.NoError(t, err)
	keyset, err := keys.Encode()
	require.NoError(t, err)
	id, err := uuid.NewV7()
	require.NoError(t, err)
	admin := auth.NewKey(domain.KeyID{UUID: id}).Reveal()
	Binary(t)
	var f Fleet
	var starts sync.WaitGroup
	for _, verb := range verbs {
		e := New(t, append([]Option{WithVerb(verb), WithEnv("TENURE_DATABASE_URL=" + url)}, opts...)...)
		require.NoError(t, os.MkdirAll(e.DataDir, 0o711))
		require.NoError(t, os.WriteFile(filepath.Join(e.DataDir, vault.FileName), keyset, 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(e.DataDir, "admin.key"), []byte(admin+"\n"), 0o600))
		f = append(f, e)
		starts.Go(func() {
			if !e.TryStart() {
				t.Errorf("tenure %s ended before it served:\n%s", verb, e.Log())
			}
		})
	}
	starts.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return f
}

// Of are the processes of a verb.
func (f Fleet) Of(verb string) (some []*Engine) {
	for _, e := range f {
		if e.Verb == verb {
			some = append(some, e)
		}
	}
	return some
}

// Kill ends all of them at once by SIGKILL: what has shown what it is to show need not hand anything over.
func (f Fleet) Kill() {
	for _, e := range f {
		e.Kill()
	}
}
