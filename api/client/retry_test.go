package client_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
)

// What may have been done by a try whose answer was lost is not said to have had no effect, whatever is said of a later try.
func TestALaterTrySaysNothingOfAnEarlierOne(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		answers []string // of the tries; the last one is that of all later ones too
		code    string   // what the caller is told; "" for an answer that was lost
	}{
		"not known, then nothing done": {[]string{"503 outcome_unknown", "503 unavailable"}, "outcome_unknown"},
		"lost, then nothing done":      {[]string{"lost", "503 unavailable"}, ""},
		"nothing done":                 {[]string{"503 unavailable"}, "unavailable"},
		"not known, then refused":      {[]string{"503 outcome_unknown", "409 conflict"}, "conflict"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tries := 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				answer := tc.answers[min(tries, len(tc.answers)-1)]
				tries++
				status, code, _ := strings.Cut(answer, " ")
				if answer == "lost" {
					panic(http.ErrAbortHandler)
				}
				w.Header().Set("Content-Type", wire.TypeProblem)
				w.WriteHeader(map[string]int{"503": http.StatusServiceUnavailable, "409": http.StatusConflict}[status])
				_, _ = w.Write([]byte(`{"status":` + status + `,"code":"` + code + `","retryable":true}`))
			}))
			t.Cleanup(server.Close)
			c, err := client.New(server.URL, "key")
			require.NoError(t, err)
			_, err = c.CancelLease(t.Context(), uuid.New(), wire.Cancel{}, client.IdempotencyKey("once"))
			require.Error(t, err)
			require.Greater(t, tries, len(tc.answers)-1, "it tried again")
			if tc.code == "" {
				require.ErrorContains(t, err, "EOF")
				return
			}
			require.True(t, client.IsCode(err, tc.code), "%v", err)
		})
	}
}
