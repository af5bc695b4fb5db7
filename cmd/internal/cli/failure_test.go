package cli

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/cmd/internal/cli/config"
)

func answered(status int, code string) error {
	return fmt.Errorf("ask: %w", &client.Problem{Problem: wire.Problem{Status: status, Code: code, Detail: "no"}})
}

func TestEveryErrorHasOneExitCode(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		err  error
		want int
		// own is the code when run or exec says it.
		own int
	}{
		{"anything else", fmt.Errorf("disk full"), 1, 125},
		{"usage", usagef("no such flag"), 2, 2},
		{"bad request", answered(http.StatusBadRequest, "invalid"), 2, 2},
		{"unprocessable", answered(http.StatusUnprocessableEntity, "invalid"), 2, 2},
		{"too large", answered(http.StatusRequestEntityTooLarge, "too_large"), 2, 2},
		{"not found", answered(http.StatusNotFound, "lease_not_found"), 3, 125},
		{"no key", &config.NoKeyError{Cause: "none"}, 4, 125},
		{"bad key", answered(http.StatusUnauthorized, "unauthorized"), 4, 125},
		{"forbidden", answered(http.StatusForbidden, "forbidden"), 5, 125},
		{"conflict", answered(http.StatusConflict, "company_exists"), 6, 125},
		{"gone", answered(http.StatusGone, "lease_ended"), 6, 125},
		{"another version", answered(http.StatusPreconditionFailed, "version"), 6, 125},
		{"lease failed", answered(http.StatusConflict, "lease_failed"), 7, 125},
		{"busy", answered(http.StatusServiceUnavailable, "busy"), 1, 125},
		{"no server", fmt.Errorf("%w at x", client.ErrUnreachable), 10, 125},
		{"lost connection", &url.Error{Op: "Get", URL: "x", Err: fmt.Errorf("EOF")}, 10, 125},
		{"timeout", errTimeout, 124, 124},
		{"deadline", context.DeadlineExceeded, 124, 124},
		{"interrupted", fmt.Errorf("wait: %w", errInterrupted), 130, 130},
		{"canceled", context.Canceled, 130, 130},
		{"the command's own", exitStatus(42), 42, 42},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.want, explain(c.err).ExitCode)
			require.Equal(t, c.own, explain(&ownError{c.err}).ExitCode)
		})
	}
}

func TestWhatAServerSaysCannotSteerATerminal(t *testing.T) {
	t.Parallel()
	require.Equal(t, `a\x1b[2Jb c`, clean("a\x1b[2Jb\nc"))
	require.Equal(t, "für €", clean("für €"))
}

func TestAnAddressOfEveryInterfaceIsDialedOnThisMachine(t *testing.T) {
	t.Parallel()
	require.Equal(t, "http://127.0.0.1:1", dialable("http://0.0.0.0:1"))
	require.Equal(t, "http://[::1]:1", dialable("http://[::]:1"))
	require.Equal(t, "https://host:1", dialable("https://host:1"))
}
