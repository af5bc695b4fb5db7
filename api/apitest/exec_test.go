package apitest_test

import (
	"bytes"
	"io"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/domain"
)

// collect reads an output to its end.
func collect(t *testing.T, c *client.Client, id uuid.UUID, o client.OutputOptions) (stdout, stderr []byte, seal *wire.Sealed) {
	t.Helper()
	for line, err := range c.ExecOutput(t.Context(), id, o) {
		require.NoError(t, err)
		switch {
		case line.Sealed != nil:
			require.Nil(t, seal, "the seal comes once, last")
			seal = line.Sealed
		case line.Stream == "stdout":
			stdout = append(stdout, line.Data...)
		default:
			stderr = append(stderr, line.Data...)
		}
	}
	return stdout, stderr, seal
}

func TestExecRunsAndItsOutputIsReadToTheSeal(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	l := s.lease(tn, "run")
	x, err := tn.client.StartExec(t.Context(), l.ID, l.Fence, wire.StartExec{
		Argv: []string{"print", "x\u20ac", "err", "y", `\u0000`}, Env: map[string]string{"MY-KEY": "$(id)\n'\"", "a.b": "1", "1X": "2"}, Stdin: "hello", TimeoutMs: 1000,
	}, client.Fence(l.Fence))
	require.NoError(t, err)
	require.Equal(t, []string{"1X", "MY-KEY", "a.b"}, x.EnvNames)
	require.EqualValues(t, 5, x.StdinBytes)

	stdout, stderr, seal := collect(t, tn.client, x.ID, client.OutputOptions{Follow: true})
	require.Equal(t, "x\u20acy", string(stdout))
	require.Equal(t, `err\u0000`, string(stderr))
	require.Equal(t, "complete", seal.State)
	require.EqualValues(t, len(stdout), seal.Stdout.Bytes)

	ended, err := tn.client.Exec(t.Context(), x.ID, client.Wait(time.Minute))
	require.NoError(t, err)
	require.Equal(t, wire.EndExited, ended.Result.End)
	require.Zero(t, *ended.Result.ExitCode)
	require.Equal(t, seal, ended.Output)

	list, err := tn.client.Execs(t.Context(), l.ID, client.MinPosition(ended.Position))
	require.NoError(t, err)
	require.Len(t, list.Items, 1)
}

func TestOutputIsReadFromAnyOffsetAndByStream(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	l := s.lease(tn, "run")
	x, err := tn.client.StartExec(t.Context(), l.ID, l.Fence, wire.StartExec{Argv: []string{"print", "abc", "DEF", "ghi"}})
	require.NoError(t, err)
	_, err = tn.client.Exec(t.Context(), x.ID, client.Wait(time.Minute))
	require.NoError(t, err)

	stdout, stderr, _ := collect(t, tn.client, x.ID, client.OutputOptions{Offset: 4})
	require.Equal(t, "ghi", string(stdout))
	require.Equal(t, "EF", string(stderr))
	stdout, stderr, seal := collect(t, tn.client, x.ID, client.OutputOptions{Stream: "stdout"})
	require.Equal(t, "abcghi", string(stdout))
	require.Empty(t, stderr)
	require.NotNil(t, seal)
	raw, err := tn.client.RawOutput(t.Context(), x.ID, client.OutputOptions{Stream: "stderr"})
	require.NoError(t, err)
	defer raw.Close()
	bytes, err := io.ReadAll(raw)
	require.NoError(t, err)
	require.Equal(t, "DEF", string(bytes))

	s.worker.forget(x.ID)
	_, err = tn.client.RawOutput(t.Context(), x.ID, client.OutputOptions{})
	require.True(t, client.IsCode(err, "output_gone"), "%v", err)
	for query, field := range map[string]string{"offset=-1": "offset", "stream=stdin": "stream", "follow=maybe": "follow", "wait=1": "wait"} {
		p := s.problem(tn.key, "GET", "/api/v1/execs/"+x.ID.String()+"/output?"+query, "")
		require.Equal(t, field, p.Field)
	}
}

func TestFollowedOutputComesWhileTheCommandRuns(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	l := s.lease(tn, "run")
	x, err := tn.client.StartExec(t.Context(), l.ID, l.Fence, wire.StartExec{Argv: []string{"hang", "first"}})
	require.NoError(t, err)
	var stdout []byte
	var seal *wire.Sealed
	for line, err := range tn.client.ExecOutput(t.Context(), x.ID, client.OutputOptions{Follow: true}) {
		require.NoError(t, err)
		if line.Sealed != nil {
			seal = line.Sealed
			continue
		}
		stdout = append(stdout, line.Data...)
		killed, err := tn.client.KillExec(t.Context(), x.ID, wire.KillExec{Why: "enough"})
		require.NoError(t, err)
		require.True(t, killed.KillRequested)
	}
	require.Equal(t, "first", string(stdout))
	require.NotNil(t, seal)
	ended, err := tn.client.Exec(t.Context(), x.ID, client.Wait(time.Minute))
	require.NoError(t, err)
	require.Equal(t, wire.EndKilled, ended.Result.End)
	require.Nil(t, ended.Result.ExitCode)
	require.Equal(t, "enough", *ended.Result.Why)
}

func TestBytesOfTheOutputArriveUnchanged(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	l := s.lease(tn, "run")
	x, err := tn.client.StartExec(t.Context(), l.ID, l.Fence, wire.StartExec{Argv: []string{"hang"}})
	require.NoError(t, err)
	s.settle(x.ID)
	out := s.worker.output(domain.ExecID{UUID: x.ID})
	// A character in two pieces with the other stream between them, NUL, a lone surrogate, no UTF-8 at all, half a character.
	out.write("stdout", []byte("x\xe2"))
	out.write("stderr", []byte("e\xe2"))
	out.write("stdout", []byte("\x82\xacy a\x00b \\u0000 \xed\xa0\xbd \xff"))
	out.write("stderr", []byte("\x94\x80"))
	out.write("stdout", []byte("\xe2"))
	_, err = tn.client.KillExec(t.Context(), x.ID, wire.KillExec{}, client.Wait(time.Minute))
	require.NoError(t, err)

	stdout, stderr, seal := collect(t, tn.client, x.ID, client.OutputOptions{})
	require.Equal(t, "x\u20acy a\x00b \\u0000 \xed\xa0\xbd \xff\xe2", string(stdout))
	require.Equal(t, "e\u2500", string(stderr))
	require.EqualValues(t, len(stdout), seal.Stdout.Bytes)
	raw, err := tn.client.RawOutput(t.Context(), x.ID, client.OutputOptions{Stream: "stdout"})
	require.NoError(t, err)
	defer raw.Close()
	same, err := io.ReadAll(raw)
	require.NoError(t, err)
	require.Equal(t, stdout, same)
}

func TestDamagedOutputIsNeverTakenForAWholeOne(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	l := s.lease(tn, "run")
	x, err := tn.client.StartExec(t.Context(), l.ID, l.Fence, wire.StartExec{Argv: []string{"print", "good", "!damage"}})
	require.NoError(t, err)
	var failed error
	for _, err := range tn.client.ExecOutput(t.Context(), x.ID, client.OutputOptions{Follow: true}) {
		failed = err
	}
	require.Error(t, failed)
}

func TestInputOfAnyBytesArrives(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	l := s.lease(tn, "run")
	in := bytes.Repeat([]byte{0, 0xff, 0xd8, '\n'}, 1<<20)
	x, err := tn.client.StartExec(t.Context(), l.ID, l.Fence, wire.StartExec{Argv: []string{"hang"}, StdinBase64: in})
	require.NoError(t, err)
	require.EqualValues(t, len(in), x.StdinBytes)
	values, err := s.commands.Values(t.Context(), x.ID)
	require.NoError(t, err)
	require.True(t, bytes.Equal(in, values.Stdin))
}

func TestExecIDOfTheClientIsUsedOnce(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	l := s.lease(tn, "run")
	id := uuid.New()
	x, err := tn.client.StartExec(t.Context(), l.ID, l.Fence, wire.StartExec{ID: &id, Argv: []string{"print"}}, client.IdempotencyKey("x"))
	require.NoError(t, err)
	require.Equal(t, id, x.ID)
	again, err := tn.client.StartExec(t.Context(), l.ID, l.Fence, wire.StartExec{ID: &id, Argv: []string{"print"}}, client.IdempotencyKey("x"))
	require.NoError(t, err)
	require.Equal(t, id, again.ID)
	_, err = tn.client.StartExec(t.Context(), l.ID, l.Fence, wire.StartExec{ID: &id, Argv: []string{"print"}}, client.IdempotencyKey("y"))
	require.True(t, client.IsCode(err, "exec_exists"), "%v", err)
}

func TestBadExecIsRefusedWithTheFieldAndMakesNothing(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	l := s.lease(tn, "run")
	path, fence := "/api/v1/leases/"+l.ID.String()+"/execs", strconv.FormatInt(l.Fence, 10)
	before := s.head()
	for body, field := range map[string]string{
		`{}`: "argv", `{"argv":[]}`: "argv", `{"argv":[""]}`: "argv[0]", `{"argv":"ls"}`: "argv", `{"argv":["a",null]}`: "argv",
		`{"argv":["a","b\u0000c"]}`: "argv[1]", `{"argv":["\ud83d"]}`: "argv", `{"argv":["a"],"env":{"":"x"}}`: "env.",
		`{"argv":["a"],"env":{"A=B":"s3cret"}}`: "env.A=B", `{"argv":["a"],"env":{"A\u0000B":"s3cret"}}`: "env.A\x00B", `{"argv":["a"],"env":{"A":7}}`: "env",
		`{"argv":["a"],"env":{"A":"s3cret\u0000"}}`: "env.A", `{"argv":["a"],"cwd":"\u0000"}`: "cwd", `{"argv":["a"],"timeoutMs":-1}`: "timeoutMs",
		`{"argv":["a"],"timeoutMs":"1s"}`: "timeoutMs", `{"argv":["a"],"stdinBase64":"!"}`: "stdinBase64", `{"argv":["a"],"stdin":"x","stdinBase64":"eA=="}`: "stdinBase64",
		`{"argv":["a"],"id":"x"}`: "id", `{"argv":["a"],"shell":true}`: "shell",
	} {
		p := s.problem(tn.key, "POST", path, body, "Lease-Fence", fence)
		require.Equal(t, 400, p.Status, body)
		require.Equal(t, field, p.Field, body)
		require.NotContains(t, p.Detail+p.Cause, "s3cret")
	}
	require.Equal(t, before, s.head(), "nothing half-made stays")
}

func TestExecInALeaseThatIsNotActiveIsRefused(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	waiting, _, err := tn.client.AcquireLease(t.Context(), tn.company, tn.ask("slow"))
	require.NoError(t, err)
	_, err = tn.client.StartExec(t.Context(), waiting.Lease.ID, waiting.Lease.Fence, wire.StartExec{Argv: []string{"print"}})
	require.True(t, client.IsCode(err, "lease_not_active"), "%v", err)
	l := s.lease(tn, "run")
	_, err = tn.client.ReleaseLease(t.Context(), l.ID, wire.Release{}, client.Wait(time.Minute))
	require.NoError(t, err)
	_, err = tn.client.StartExec(t.Context(), l.ID, l.Fence, wire.StartExec{Argv: []string{"print"}})
	require.True(t, client.IsCode(err, "lease_ended"), "%v", err)
}

func TestEnvironmentValuesAreInNoEventAndNoLog(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	const marker = "MARKER-4711"
	in := tn.ask("run")
	in.Env = map[string]string{"TOKEN": marker}
	acquired, _, err := tn.client.AcquireLease(t.Context(), tn.company, in, client.Wait(time.Minute))
	require.NoError(t, err)
	x, err := tn.client.StartExec(t.Context(), acquired.Lease.ID, acquired.Lease.Fence, wire.StartExec{Argv: []string{"print"}, Env: map[string]string{"T": marker}, Stdin: marker})
	require.NoError(t, err)
	_, err = tn.client.Exec(t.Context(), x.ID, client.Wait(time.Minute))
	require.NoError(t, err)
	_, feed := s.raw(s.adminKey, "GET", "/api/v1/events?limit=1000", "")
	_, exec := s.raw(tn.key, "GET", "/api/v1/execs/"+x.ID.String(), "")
	_, metrics := s.raw(s.adminKey, "GET", "/metrics", "")
	for _, place := range []string{string(feed), string(exec), string(metrics), s.log.String()} {
		require.NotContains(t, place, marker)
	}
}
