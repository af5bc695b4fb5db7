package client_test

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
)

// A connection that was used before breaks under a command. Whether it is sent again is the client's to decide, who remembers it.
func TestACommandIsNotSentAgainBehindTheClientsBack(t *testing.T) {
	t.Parallel()
	for name, send := range map[string]func(c *client.Client) error{
		"with a body": func(c *client.Client) error {
			_, _, err := c.AcquireLease(t.Context(), uuid.New(), wire.AcquireLease{HeartbeatRunID: "run"})
			return err
		},
		"without one": func(c *client.Client) error {
			_, err := c.RenewLease(t.Context(), uuid.New(), 1)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var commands atomic.Int64
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
				if q.Method == http.MethodGet {
					_, _ = w.Write([]byte(`{"status": "ok"}`))
					return
				}
				if q.Header.Get(wire.HeaderIdempotencyKey) != "" {
					commands.Add(1)
				}
				panic(http.ErrAbortHandler)
			}))
			t.Cleanup(server.Close)
			c, err := client.New(server.URL, "key", client.WithoutRetries())
			require.NoError(t, err)
			_, err = c.Health(t.Context()) // makes the connection
			require.NoError(t, err)
			require.Error(t, send(c))
			require.EqualValues(t, 1, commands.Load())
		})
	}
}
