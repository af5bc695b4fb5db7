package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/labstack/echo/v4"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/eventstore"
)

func TestHalfACharacterIsFoundInJSON(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		`"plain"`: "", `"\ud83d\ude00"`: "", `"\\ud83d"`: "", `"\u0000"`: "", `"\n\t\\\/"`: "", `"a\\\\u"`: "",
		`"\ud83d"`: `\ud83d`, `"\ud83d x"`: `\ud83d`, `"\ude00"`: `\ude00`, `"\ud83d\ud83d\ude00"`: `\ud83d`, `"\ud83d\n"`: `\ud83d`, `"\\\uDC00"`: `\uDC00`,
		`{"\ud800":1}`: `\ud800`,
	} {
		require.Equal(t, want, loneSurrogate([]byte(raw)), raw)
	}
}

// FuzzLoneSurrogate holds the scanner to Go's decoder, which puts U+FFFD in the place of half a character.
func FuzzLoneSurrogate(f *testing.F) {
	for _, seed := range []string{`"a"`, `"\ud83d\ude00"`, `"\ud83d"`, `{"a":["\\ud83d","\udc00"]}`, `"\u0000\\"`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if !json.Valid(raw) || !utf8.Valid(raw) || bytes.ContainsRune(raw, utf8.RuneError) || bytes.Contains(bytes.ToLower(raw), []byte("fffd")) {
			return
		}
		v, err := decodeAny(raw)
		require.NoError(t, err)
		replaced := strings.ContainsRune(fmt.Sprint(v), utf8.RuneError)
		require.Equal(t, replaced, loneSurrogate(raw) != "", "%s", raw)
	})
}

func TestObjectIsSplitStrictly(t *testing.T) {
	t.Parallel()
	fields, err := objectFields([]byte(` {"a":1,"b":{"a":[]}} `))
	require.NoError(t, err)
	require.Equal(t, []field{{"a", json.RawMessage("1")}, {"b", json.RawMessage(`{"a":[]}`)}}, fields)
	for _, raw := range []string{``, `nul`, `[]`, `"x"`, `{"a":1,}`, `{"a":1}x`, `{"a":1,"a":1}`, `{"a":1`, `{a:1}`} {
		_, err := objectFields([]byte(raw))
		require.Error(t, err, raw)
	}
}

// TestMergePatchDoesWhatTheRFCSays has the examples of RFC 7396, appendix A, on values.
func TestMergePatchDoesWhatTheRFCSays(t *testing.T) {
	t.Parallel()
	for _, row := range [][3]string{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`}, {`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`}, {`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`}, {`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`}, {`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`}, {`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`}, {`["a","b"]`, `["c","d"]`, `["c","d"]`},
		{`{"a":"b"}`, `["c"]`, `["c"]`}, {`{"a":"foo"}`, `null`, `null`}, {`{"a":"foo"}`, `"bar"`, `"bar"`}, {`{"e":null}`, `{"a":1}`, `{"e":null,"a":1}`},
		{`[1,2]`, `{"a":"b","c":null}`, `{"a":"b"}`}, {`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
	} {
		got, err := merge(json.RawMessage(row[0]), json.RawMessage(row[1]))
		require.NoError(t, err)
		require.JSONEq(t, row[2], string(got), "%s + %s", row[0], row[1])
	}
}

func TestEveryErrorHasItsProblem(t *testing.T) {
	t.Parallel()
	wrapped := func(err error) error { return fmt.Errorf("acquire: %w", err) }
	for _, row := range []struct {
		err       error
		status    int
		code      string
		retryable bool
	}{
		{wrapped(eventstore.ErrUnavailable), 503, "unavailable", true},
		{wrapped(eventstore.ErrUnknownOutcome), 503, "outcome_unknown", true},
		{wrapped(&eventstore.ConflictError{}), 409, "conflict", true},
		{wrapped(eventstore.ErrCommandReused), 422, "idempotency_key_reused", false},
		{wrapped(&eventstore.InvalidError{Err: errors.New("x")}), 400, "too_large", false},
		{wrapped(domain.NotFound("lease")), 404, "lease_not_found", false},
		{wrapped(errors.New("a secret detail")), 500, "internal", false},
		{echo.ErrNotFound, 404, "route_not_found", false},
		{echo.ErrMethodNotAllowed, 405, "method_not_allowed", false},
		{&leaseFailedError{lease: wire.Lease{Status: "failed"}}, 409, "lease_failed", false},
	} {
		p, retryAfter := problemOf(row.err)
		require.Equal(t, row.status, p.Status, row.err)
		require.Equal(t, row.code, p.Code)
		require.Equal(t, row.retryable, p.Retryable)
		require.NotEmpty(t, p.Cause)
		require.NotEmpty(t, p.Remediation)
		require.NotContains(t, p.Detail+p.Cause, "secret")
		require.Equal(t, row.status == http.StatusServiceUnavailable, retryAfter > 0)
	}
	p, _ := problemOf(eventstore.ErrUnknownOutcome)
	require.Equal(t, "repeat with the same Idempotency-Key", p.Remediation)
}

func TestEveryKindOfRefusalHasAStatus(t *testing.T) {
	t.Parallel()
	for kind, status := range map[domain.Kind]int{
		domain.KindInvalid: 400, domain.KindForbidden: 403, domain.KindNotFound: 404, domain.KindConflict: 409, domain.KindGone: 410, domain.KindStale: 412,
	} {
		require.Equal(t, status, statusOf(kind))
	}
}
