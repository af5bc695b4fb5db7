package embedded_test

import (
	"cmp"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/eventstore/embedded"
	"github.com/tenure-dev/tenure/eventstore/embedded/internal/enginetest"
)

func TestMain(m *testing.M) { enginetest.Main(m) }

// start runs a server in this process and stops it at the end.
func start(t *testing.T, opts embedded.Options) *embedded.Server {
	t.Helper()
	opts.StartTimeout = cmp.Or(opts.StartTimeout, 5*time.Minute) // of a busy machine
	opts.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	server, err := embedded.Start(t.Context(), opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop(context.Background())) })
	return server
}

func dataDir(t *testing.T) string { return filepath.Join(enginetest.Dir(t), "data") }

func connect(t *testing.T, connString string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), connString)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func query(t *testing.T, connString, sql string) string {
	t.Helper()
	var answer string
	require.NoError(t, connect(t, connString).QueryRow(t.Context(), sql).Scan(&answer))
	return answer
}

func execute(t *testing.T, connString, sql string) {
	t.Helper()
	_, err := connect(t, connString).Exec(t.Context(), sql)
	require.NoError(t, err)
}

func requireCode(t *testing.T, err error, code embedded.Code) {
	t.Helper()
	var e *embedded.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, code, e.Code, err.Error())
	require.NotContains(t, e.Error(), "\n")
	require.NotEmpty(t, e.Remediation)
}

func read(t *testing.T, path ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(path...))
	require.NoError(t, err)
	return string(text)
}
