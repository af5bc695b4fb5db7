package docker_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/driverstest"
)

// frame is one of the parent's, within one of the engine's.
func frame(kind byte, data string) string {
	inner := string(binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(data)))) + data
	return string(binary.BigEndian.AppendUint32([]byte{1, 0, 0, 0}, uint32(len(inner)))) + inner
}

// withExec makes the fake engine answer the start of an exec with start.
func withExec(f *fakeEngine, start http.HandlerFunc) {
	f.rule = func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case strings.HasSuffix(r.URL.Path, "/exec"):
			w.WriteHeader(http.StatusCreated)
			_, _ = fmt.Fprint(w, `{"Id":"e1"}`)
		case strings.HasSuffix(r.URL.Path, "/exec/e1/start"):
			start(w, r)
		default:
			return false
		}
		return true
	}
}

// saying takes the connection over, says this and hangs up.
func saying(words ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = conn.Write([]byte("HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n" + strings.Join(words, "")))
	}
}

// stuck never answers. A server sees that its client is gone only when it has read what that sent.
func stuck(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

func startIn(t *testing.T, f *fakeEngine, start http.HandlerFunc, limitMs int) (drivers.Exec, string, error) {
	t.Helper()
	d := f.driver(t)
	req := f.request(nil)
	rt, err := d.Acquire(t.Context(), req)
	require.NoError(t, err)
	withExec(f, start)
	dir := filepath.Join(t.TempDir(), uuid.NewString())
	req.Config = f.request(map[string]any{"timeoutMs": limitMs}).Config
	e, err := d.StartExec(t.Context(), drivers.ExecRequest{Handle: driverstest.HandleOf(req, rt), Argv: []string{"true"}, JournalDir: dir})
	return e, dir, err
}

const startedFrame = `{"started":{"pid":1,"startTime":2,"bootId":"another machine"}}`

func TestAnExecOverTheWireIsReadToItsEnd(t *testing.T) {
	t.Parallel()
	e, dir, err := startIn(t, newFakeEngine(t), saying(frame('s', startedFrame), frame('1', "out"), frame('2', "err"),
		frame('s', `{"result":{"end":"exited","exitCode":5,"output":{"state":"complete","stdout":{"bytes":3},"stderr":{"bytes":3}}}}`)), answeredMs)
	require.NoError(t, err)
	require.Equal(t, drivers.Process{PID: 1, StartTime: 2, BootID: "another machine"}, e.Process())
	result, err := e.Wait(t.Context())
	require.NoError(t, err)
	require.Equal(t, drivers.ExecExited, result.End)
	require.Equal(t, 5, result.ExitCode)
	stdout, stderr := driverstest.ReadOutput(t, dir)
	require.Equal(t, "out", string(stdout))
	require.Equal(t, "err", string(stderr))
}

func TestAnExecWhoseLinkIsCutIsUnknownAndNeverZero(t *testing.T) {
	t.Parallel()
	e, dir, err := startIn(t, newFakeEngine(t), saying(frame('s', startedFrame), frame('1', "out"), frame('1', "more")[:12]), answeredMs)
	require.NoError(t, err)
	result, err := e.Wait(t.Context())
	require.NoError(t, err)
	require.Equal(t, drivers.ExecUnknown, result.End)
	require.Equal(t, "link_lost", result.Why)
	require.Equal(t, drivers.OutputLost, result.Output.State)
	stdout, _ := driverstest.ReadOutput(t, dir)
	require.Equal(t, "out", string(stdout))
}

func TestAnExecThatDoesNotStartSaysWhyInTime(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		start  http.HandlerFunc
		stage  string
		code   string
		reason string
	}{
		"the engine's reason": {
			func(w http.ResponseWriter, _ *http.Request) {
				refuse(w, 500, "OCI runtime exec failed: no processes left")
			},
			"runtime", "engine_error", "no processes left",
		},
		"a conflict":          {func(w http.ResponseWriter, _ *http.Request) { refuse(w, 409, "container c1 is paused") }, "runtime", "conflict", "is paused"},
		"a stuck engine":      {stuck, "runtime", "engine_timeout", "did not end within 3s"},
		"a lost answer":       {func(http.ResponseWriter, *http.Request) { lose() }, "runtime", "engine_unreachable", "EOF"},
		"a parent that dies":  {saying(string([]byte{2, 0, 0, 0, 0, 0, 0, 5}) + "panic"), "parent", "answer", "panic"},
		"what is no upgrade":  {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("fine")) }, "runtime", "engine_error", "200 OK"},
		"a parent's own word": {saying(frame('s', `{"startFailed":{"stage":"cwd","code":"cwd_not_found","message":"no such"}}`)), "cwd", "cwd_not_found", "no such"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			limit := answeredMs
			if row.code == "engine_timeout" {
				limit = stuckMs
			}
			_, _, err := startIn(t, newFakeEngine(t), row.start, limit)
			start, ok := errors.AsType[*drivers.StartError](err)
			require.True(t, ok, "%v", err)
			require.Equal(t, row.stage, start.Stage, "%v", err)
			require.Equal(t, row.code, start.Code, "%v", err)
			require.ErrorContains(t, err, row.reason)
			require.Less(t, time.Since(began), time.Minute)
		})
	}
}
