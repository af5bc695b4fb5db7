package apptest

import (
	"testing"

	"github.com/tenure-dev/tenure/migrations/pgtest"
)

// OnServer starts the engine on a schema of the test program's own Postgres: for what is not about the embedded one, whose making
// and fsyncs are most of the start of an engine.
func OnServer(t testing.TB) Option {
	t.Helper()
	return WithEnv("TENURE_DATABASE_URL=" + pgtest.URL(t))
}
