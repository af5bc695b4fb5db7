package protocol_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/plugins/protocol"
)

// peer is the other end, by hand.
type peer struct {
	t    *testing.T
	in   *bufio.Reader
	out  io.WriteCloser
	conn *protocol.Conn
}

// dial returns a connection and its other end.
func dial(t *testing.T, opts protocol.Options) *peer {
	t.Helper()
	fromPeer, out := io.Pipe()
	in, toPeer := io.Pipe()
	p := &peer{t: t, in: bufio.NewReader(in), out: out, conn: protocol.NewConn(fromPeer, toPeer, opts)}
	t.Cleanup(func() {
		_ = p.conn.Close()
		p.conn.Wait()
	})
	return p
}

// read returns the next line that the connection wrote, decoded.
func (p *peer) read() map[string]any {
	p.t.Helper()
	line, err := p.in.ReadBytes('\n')
	require.NoError(p.t, err)
	var v map[string]any
	require.NoError(p.t, json.Unmarshal(line, &v), "%s", line)
	require.Equal(p.t, "2.0", v["jsonrpc"])
	return v
}

func (p *peer) send(lines ...string) {
	p.t.Helper()
	for _, line := range lines {
		_, err := io.WriteString(p.out, line+"\n")
		require.NoError(p.t, err)
	}
}

// pair is two connections that speak to each other.
func pair(t *testing.T, host, worker protocol.Options) (*protocol.Conn, *protocol.Conn) {
	t.Helper()
	r1, w1 := io.Pipe()
	r2, w2 := io.Pipe()
	a, b := protocol.NewConn(r1, w2, host), protocol.NewConn(r2, w1, worker)
	t.Cleanup(func() {
		_ = a.Close()
		_ = b.Close()
		a.Wait()
		b.Wait()
	})
	return a, b
}

// inBackground runs f and returns its result when asked.
func inBackground[T any](f func() T) func() T {
	result := make(chan T, 1)
	go func() { result <- f() }()
	return func() T { return <-result }
}

func TestARequestIsOneLineWithItsEnvelope(t *testing.T) {
	t.Parallel()
	p := dial(t, protocol.Options{})
	wait := inBackground(func() error {
		var got struct{ OK bool }
		err := p.conn.Call(t.Context(), "environmentProbe", map[string]any{"driverKey": "x"}, &got,
			protocol.WithInvocation(protocol.Invocation{ID: "i-1", Scope: protocol.InvocationScope{CompanyID: "c-1"}}))
		require.True(t, got.OK)
		return err
	})
	require.Equal(t, map[string]any{
		"jsonrpc": "2.0", "id": 1.0, "method": "environmentProbe", "params": map[string]any{"driverKey": "x"},
		"paperclipInvocation": map[string]any{"id": "i-1", "scope": map[string]any{"companyId": "c-1"}},
	}, p.read())
	p.send(`{"jsonrpc":"2.0","id":1,"result":{"ok":true,"later":1},"unknown":true}`)
	require.NoError(t, wait())
}

func TestRepliesMayComeInAnyOrderAndTheSameIDLivesInBothDirections(t *testing.T) {
	t.Parallel()
	p := dial(t, protocol.Options{Request: func(_ context.Context, req protocol.Request) (any, error) {
		return req.Method + " for " + req.InvocationID, nil
	}})
	var results [3]func() string
	for i := range results {
		results[i] = inBackground(func() string {
			var got string
			require.NoError(t, p.conn.Call(t.Context(), "m", nil, &got))
			return strconv.Itoa(i) + got
		})
		require.NotContains(t, p.read(), "params", "absent, not null")
	}
	p.send(`{"jsonrpc":"2.0","id":1,"method":"config.get","paperclipInvocationId":"i-9"}`)
	require.Equal(t, map[string]any{"jsonrpc": "2.0", "id": 1.0, "result": "config.get for i-9"}, p.read())
	p.send(`{"jsonrpc":"2.0","id":3,"result":"c"}`, `{"jsonrpc":"2.0","id":1,"result":"a"}`, `{"jsonrpc":"2.0","id":2,"result":"b"}`)
	require.Equal(t, []string{"0a", "1b", "2c"}, []string{results[0](), results[1](), results[2]()})
}

func TestALineEndsAtANewlineAndNowhereElse(t *testing.T) {
	t.Parallel()
	p := dial(t, protocol.Options{})
	wait := inBackground(func() string {
		var got string
		require.NoError(t, p.conn.Call(t.Context(), "m", nil, &got))
		return got
	})
	p.read()
	p.send("", "\r", "  ", "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"a\u2028b\u2029c\u0085d\"}\r")
	require.Equal(t, "a\u2028b\u2029c\u0085d", wait())
}

func TestWhatJavaScriptTakesForALineEndIsEscapedEverywhere(t *testing.T) {
	t.Parallel()
	p := dial(t, protocol.Options{Request: func(context.Context, protocol.Request) (any, error) {
		return json.RawMessage("{\n\"a\":\"\u2028\"}"), nil
	}})
	bad := "x\u2028y\u2029\nz"
	for _, params := range []any{
		map[string]string{bad: bad}, json.RawMessage(`{"k":` + "\n" + `"x` + "\u2028" + `"}`), []string{bad},
	} {
		go func() { _ = p.conn.Notify(t.Context(), "n", params) }()
		line, err := p.in.ReadString('\n')
		require.NoError(t, err)
		require.NotContains(t, line, "\u2028")
		require.NotContains(t, line, "\u2029")
		require.True(t, json.Valid([]byte(line)), line)
		require.Contains(t, line, `\u2028`)
	}
	p.send(`{"jsonrpc":"2.0","id":"` + "\u2028" + `","method":"m"}`)
	line, err := p.in.ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, `"id":"\u2028","result":{"a":"\u2028"}`)
}

func TestNullIsAResult(t *testing.T) {
	t.Parallel()
	p := dial(t, protocol.Options{Request: func(context.Context, protocol.Request) (any, error) { return nil, nil }})
	wait := inBackground(func() *protocol.Receipt {
		got := &protocol.Receipt{State: "before"}
		require.NoError(t, p.conn.Call(t.Context(), "m", nil, &got))
		return got
	})
	p.read()
	p.send(`{"jsonrpc":"2.0","id":1,"result":null}`)
	require.Nil(t, wait())
	p.send(`{"jsonrpc":"2.0","id":7,"method":"m","params":null}`)
	answer := p.read()
	require.Contains(t, answer, "result")
	require.Nil(t, answer["result"])
	require.NotContains(t, answer, "error")
}

func TestErrorsOfAnyFormArrive(t *testing.T) {
	t.Parallel()
	p := dial(t, protocol.Options{})
	for i, tc := range []struct {
		wire string
		want protocol.Error
	}{
		{`{"code":429,"message":"slow down"}`, protocol.Error{Code: 429, Message: "slow down"}},
		{`{"code":-32001,"message":"no","data":{"a":[1]}}`, protocol.Error{Code: -32001, Message: "no", Data: json.RawMessage(`{"a":[1]}`)}},
		{`{"code":"ECONNRESET","message":"x"}`, protocol.Error{Code: protocol.CodeUnknown, Message: "x"}},
		{`{"code":1.5e300,"message":7,"data":null}`, protocol.Error{Code: protocol.CodeUnknown, Message: "an error without a message"}},
		{`"boom"`, protocol.Error{Code: protocol.CodeUnknown, Message: "an error that is no JSON-RPC error"}},
	} {
		wait := inBackground(func() error { return p.conn.Call(t.Context(), "m", nil, nil) })
		p.read()
		p.send(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"result":null,"error":%s}`, i+1, tc.wire))
		got, ok := errors.AsType[*protocol.Error](wait())
		require.True(t, ok, tc.wire)
		require.Equal(t, tc.want, *got)
	}
	wait := inBackground(func() error { return p.conn.Call(t.Context(), "m", nil, nil) })
	p.read()
	p.send(`{"jsonrpc":"2.0","id":6,"error":null,"result":1}`)
	require.NoError(t, wait(), "a null error is none")
}

func TestAReplyOfAnotherFormIsToldFromNoReplyAndNotQuoted(t *testing.T) {
	t.Parallel()
	p := dial(t, protocol.Options{})
	wait := inBackground(func() error {
		var got protocol.Lease
		return p.conn.Call(t.Context(), "m", nil, &got)
	})
	p.read()
	p.send(`{"jsonrpc":"2.0","id":1,"result":"s3cret"}`)
	err := wait()
	require.ErrorIs(t, err, protocol.ErrBadReply)
	require.NotErrorIs(t, err, protocol.ErrNotSent)
	require.NotContains(t, err.Error(), "s3cret")
}

func TestWhatIsNoMessageIsHandedOverAndSkipped(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var junk []string
	p := dial(t, protocol.Options{Junk: func(line []byte, why error) {
		mu.Lock()
		defer mu.Unlock()
		junk = append(junk, string(line)+" → "+why.Error())
	}})
	wait := inBackground(func() error { return p.conn.Call(t.Context(), "m", nil, nil) })
	p.read()
	p.send(
		`started v1.2`, `{"level":30,"msg":"up"}`, `{"jsonrpc":"2.0","id":1`, `[{"jsonrpc":"2.0","id":1,"result":1}]`, `null`, `"x"`,
		`{"jsonrpc":"1.0","id":1,"result":1}`, `{"jsonrpc":"2.0","id":null,"method":"m"}`, `{"jsonrpc":"2.0","id":{},"method":"m"}`,
		`{"jsonrpc":"2.0","id":99,"result":1}`, `{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"?"}}`, `{"jsonrpc":"2.0"}`,
		`{"jsonrpc":"2.0","method":7,"id":1}`,
		`{"jsonrpc":"2.0","id":1,"result":1}`,
	)
	require.NoError(t, wait())
	mu.Lock()
	defer mu.Unlock()
	require.Len(t, junk, 13)
	require.Equal(t, `started v1.2 → it is no JSON object`, junk[0])
	require.Contains(t, junk[1], `it has no "jsonrpc":"2.0"`)
	require.Contains(t, junk[3], "batches")
}

func TestAWorkerAnswersWhatItCannotRead(t *testing.T) {
	t.Parallel()
	p := dial(t, protocol.Options{AnswerJunk: true})
	p.send(`[]`)
	got := p.read()
	require.Contains(t, got, "id")
	require.Nil(t, got["id"])
	require.InDelta(t, protocol.CodeParse, got["error"].(map[string]any)["code"], 0)
}

func TestAMethodThatIsNotServedIsRefused(t *testing.T) {
	t.Parallel()
	p := dial(t, protocol.Options{})
	p.send(`{"jsonrpc":"2.0","id":"a","method":"issues.create"}`)
	got := p.read()
	require.Equal(t, "a", got["id"])
	require.InDelta(t, protocol.CodeMethodNotFound, got["error"].(map[string]any)["code"], 0)
	p.send(`{"jsonrpc":"2.0","method":"unknown"}`, `{"jsonrpc":"2.0","id":"b","method":"x"}`)
	require.Equal(t, "b", p.read()["id"], "an unknown notification has no answer")
}

func TestAnErrorOfAHandlerKeepsItsCodeAndData(t *testing.T) {
	t.Parallel()
	host, _ := pair(t, protocol.Options{}, protocol.Options{Request: func(_ context.Context, req protocol.Request) (any, error) {
		switch req.Method {
		case "own":
			return nil, fmt.Errorf("wrapped: %w", &protocol.Error{Code: 7, Message: "m", Data: json.RawMessage(`{"x":1}`)})
		case "plain":
			return nil, errors.New("plain")
		default:
			return func() {}, nil
		}
	}})
	for method, want := range map[string]protocol.Error{
		"own":    {Code: 7, Message: "m", Data: json.RawMessage(`{"x":1}`)},
		"plain":  {Code: protocol.CodeInternal, Message: "plain"},
		"unjson": {Code: protocol.CodeInternal, Message: "the result is no JSON"},
	} {
		got, ok := errors.AsType[*protocol.Error](host.Call(t.Context(), method, nil, nil))
		require.True(t, ok)
		require.Equal(t, want, *got)
	}
}

func TestNotificationsKeepTheirOrderAndComeBeforeTheReplyThatFollows(t *testing.T) {
	t.Parallel()
	const n = 2000
	var seen []int // no lock: one at a time, and all before the reply
	var conn atomic.Pointer[protocol.Conn]
	h, w := pair(t, protocol.Options{Notification: func(got protocol.Notification) {
		var i int
		_ = json.Unmarshal(got.Params, &i)
		seen = append(seen, i)
	}}, protocol.Options{Request: func(ctx context.Context, _ protocol.Request) (any, error) {
		for i := range n {
			if err := conn.Load().Notify(ctx, "execute.log", i); err != nil {
				return nil, err
			}
		}
		return n, nil
	}})
	conn.Store(w)
	require.NoError(t, h.Call(t.Context(), "m", nil, nil))
	require.Len(t, seen, n)
	for i, got := range seen {
		require.Equal(t, i, got)
	}
}

func TestALateReplyIsReceived(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ reply, want string }{
		{`"result":{"providerLeaseId":"x"}`, `{"providerLeaseId":"x"} <nil>`},
		{`"error":{"code":5,"message":"late no"}`, ` late no (code 5)`},
	} {
		p := dial(t, protocol.Options{})
		ctx, cancel := context.WithCancelCause(t.Context())
		late := make(chan string, 2)
		wait := inBackground(func() error {
			return p.conn.Call(ctx, "environmentAcquireLease", nil, nil, protocol.OnLate(func(result json.RawMessage, err error) {
				late <- string(result) + " " + fmt.Sprint(err)
			}))
		})
		p.read()
		cancel(errors.New("out of patience"))
		err := wait()
		require.ErrorContains(t, err, "out of patience")
		require.NotErrorIs(t, err, protocol.ErrNotSent, "it may have happened")
		cancelled := p.read()
		require.Equal(t, protocol.NotifyCancel, cancelled["method"])
		require.Equal(t, map[string]any{"id": 1.0}, cancelled["params"])
		require.NotContains(t, cancelled, "id")
		p.send(`{"jsonrpc":"2.0","id":1,`+tc.reply+`}`, `{"jsonrpc":"2.0","id":1,"result":"again"}`)
		require.Equal(t, tc.want, <-late)
		require.NoError(t, p.conn.Close())
		p.conn.Wait()
		require.Empty(t, late, "at most once")
	}
}

func TestTheHandlerOfARequestNobodyWaitsForIsTold(t *testing.T) {
	t.Parallel()
	cause := make(chan error, 1)
	began := make(chan struct{})
	host, _ := pair(t, protocol.Options{}, protocol.Options{Request: func(ctx context.Context, _ protocol.Request) (any, error) {
		close(began)
		<-ctx.Done()
		cause <- context.Cause(ctx)
		return nil, nil
	}})
	ctx, cancel := context.WithCancel(t.Context())
	wait := inBackground(func() error { return host.Call(ctx, "m", nil, nil) })
	<-began
	cancel()
	require.ErrorIs(t, wait(), context.Canceled)
	require.ErrorIs(t, <-cause, protocol.ErrCanceled)
}

func TestACallThatWaitsToBeWrittenWasNotSent(t *testing.T) {
	t.Parallel()
	p := dial(t, protocol.Options{QueueBytes: 100})
	// The first call is being written and nobody reads it; the second waits in the queue, the third for the queue.
	first := inBackground(func() error { return p.conn.Call(t.Context(), "first", nil, nil) })
	b, err := p.in.ReadByte()
	require.NoError(t, err)
	require.Equal(t, byte('{'), b)
	ctx, cancel := context.WithCancel(t.Context())
	second := inBackground(func() error { return p.conn.Call(ctx, "second", strings.Repeat("x", 80), nil) })
	third := inBackground(func() error { return p.conn.Call(ctx, "third", strings.Repeat("x", 80), nil) })
	cancel()
	for _, wait := range []func() error{second, third} {
		err := wait()
		require.ErrorIs(t, err, protocol.ErrNotSent)
		require.ErrorIs(t, err, context.Canceled)
	}
	fourth := inBackground(func() error { return p.conn.Call(t.Context(), "fourth", nil, nil) })
	rest, err := p.in.ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, rest, "first")
	require.Equal(t, "fourth", p.read()["method"], "what was given up is not written")
	require.NoError(t, p.conn.Close())
	for _, wait := range []func() error{first, fourth} {
		err := wait()
		require.ErrorIs(t, err, protocol.ErrClosed)
		require.NotErrorIs(t, err, protocol.ErrNotSent)
	}
	require.ErrorIs(t, p.conn.Call(t.Context(), "m", nil, nil), protocol.ErrNotSent)
	require.ErrorIs(t, p.conn.Notify(t.Context(), "m", nil), protocol.ErrNotSent)
}

func TestAPeerThatDiesIsReadToItsEnd(t *testing.T) {
	t.Parallel()
	r, out := io.Pipe()
	in, w, err := os.Pipe()
	require.NoError(t, err)
	conn := protocol.NewConn(r, w, protocol.Options{})
	defer conn.Wait()
	lines := bufio.NewReader(in)
	answered := inBackground(func() error { return conn.Call(t.Context(), "answered", nil, nil) })
	_, err = lines.ReadString('\n')
	require.NoError(t, err)
	pending := inBackground(func() error { return conn.Call(t.Context(), "pending", nil, nil) })
	_, err = lines.ReadString('\n')
	require.NoError(t, err)
	require.NoError(t, in.Close())
	err = conn.Call(t.Context(), "refused", nil, nil)
	require.ErrorIs(t, err, protocol.ErrNotSent, "the pipe took no byte of it")
	_, err = io.WriteString(out, `{"jsonrpc":"2.0","id":1,"result":1}`+"\n"+`{"jsonrpc":"2.0","id":2,"res`)
	require.NoError(t, err)
	require.NoError(t, answered(), "it answered before it died")
	require.NoError(t, out.Close())
	err = pending()
	require.ErrorIs(t, err, protocol.ErrClosed, "half a line is no reply")
	require.NotErrorIs(t, err, protocol.ErrNotSent)
	require.ErrorContains(t, conn.Err(), "the peer has closed its end")
}

func TestALastLineWithoutItsEndCountsIfItIsWhole(t *testing.T) {
	t.Parallel()
	p := dial(t, protocol.Options{})
	wait := inBackground(func() error { return p.conn.Call(t.Context(), "m", nil, nil) })
	p.read()
	_, err := io.WriteString(p.out, `{"jsonrpc":"2.0","id":1,"result":1}`)
	require.NoError(t, err)
	require.NoError(t, p.out.Close())
	require.NoError(t, wait())
}

func TestALongLineEndsTheConnectionWithBoundedMemory(t *testing.T) {
	t.Parallel()
	p := dial(t, protocol.Options{MaxLine: 1 << 20})
	wait := inBackground(func() error { return p.conn.Call(t.Context(), "m", nil, nil) })
	p.read()
	go func() {
		chunk := bytes.Repeat([]byte("x"), 1<<20)
		for range 1024 { // 1 GiB, as long as somebody takes it
			if _, err := p.out.Write(chunk); err != nil {
				return
			}
		}
	}()
	err := wait()
	require.ErrorContains(t, err, "a line is longer than 1048576 bytes")
	require.ErrorIs(t, err, protocol.ErrClosed)
	_, ok := errors.AsType[*protocol.LineError](p.conn.Err())
	require.True(t, ok)
}

func TestALineOfTheLimitPasses(t *testing.T) {
	t.Parallel()
	const limit = 5 << 20
	p := dial(t, protocol.Options{MaxLine: limit})
	var got string
	wait := inBackground(func() error { return p.conn.Call(t.Context(), "m", nil, &got) })
	p.read()
	frame := `{"jsonrpc":"2.0","id":1,"result":""}`
	text := strings.Repeat("y", limit-len(frame))
	p.send(strings.Replace(frame, `""`, `"`+text+`"`, 1))
	require.NoError(t, wait())
	require.Equal(t, text, got)
	err := p.conn.Call(t.Context(), "m", strings.Repeat("z", limit), nil)
	require.ErrorIs(t, err, protocol.ErrNotSent, "we keep the limit ourselves")
	require.NoError(t, p.conn.Err())
}

func TestAPeerThatDoesNotReadIsGivenUp(t *testing.T) {
	t.Parallel()
	p := dial(t, protocol.Options{WriteTimeout: 50 * time.Millisecond})
	err := p.conn.Call(t.Context(), "m", nil, nil)
	require.ErrorIs(t, err, protocol.ErrStalled)
	<-p.conn.Done()
}

func TestTooManyRequestsAtOnceAreRefused(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	p := dial(t, protocol.Options{MaxRequests: 2, Request: func(context.Context, protocol.Request) (any, error) {
		<-hold
		return "done", nil
	}})
	p.send(`{"jsonrpc":"2.0","id":1,"method":"m"}`, `{"jsonrpc":"2.0","id":1,"method":"m"}`)
	require.InDelta(t, protocol.CodeInvalidRequest, p.read()["error"].(map[string]any)["code"], 0, "one id twice")
	p.send(`{"jsonrpc":"2.0","id":2,"method":"m"}`, `{"jsonrpc":"2.0","id":3,"method":"m"}`)
	refused := p.read()
	require.InDelta(t, 3, refused["id"], 0)
	require.InDelta(t, protocol.CodeWorkerUnavailable, refused["error"].(map[string]any)["code"], 0)
	close(hold)
	require.Equal(t, "done", p.read()["result"])
	require.Equal(t, "done", p.read()["result"])
}

// Who asks and does not read the answers is not served beyond the limit either: each answer that waits for room is memory.
func TestRequestsOfAPeerThatDoesNotReadItsAnswersAreBounded(t *testing.T) {
	t.Parallel()
	var served atomic.Int64
	seen := make(chan struct{})
	p := dial(t, protocol.Options{
		MaxRequests: 4, QueueBytes: 200,
		Request: func(context.Context, protocol.Request) (any, error) {
			served.Add(1)
			return strings.Repeat("x", 100), nil
		},
		Notification: func(protocol.Notification) { close(seen) },
	})
	for id := range 1000 {
		p.send(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"m"}`, id))
	}
	p.send(`{"jsonrpc":"2.0","method":"n"}`)
	<-seen
	require.LessOrEqual(t, served.Load(), int64(4+2), "those at once, one answer in the queue and one that is being written")
}

func TestFlushWaitsForWhatWasWritten(t *testing.T) {
	t.Parallel()
	p := dial(t, protocol.Options{})
	require.NoError(t, p.conn.Notify(t.Context(), "bye", nil))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, p.conn.Flush(ctx), context.Canceled)
	wait := inBackground(func() error { return p.conn.Flush(t.Context()) })
	require.Equal(t, "bye", p.read()["method"])
	require.NoError(t, wait())
	require.NoError(t, p.conn.Close())
	require.ErrorIs(t, p.conn.Flush(t.Context()), protocol.ErrClosed)
}

func TestClosingEndsTheHandlers(t *testing.T) {
	t.Parallel()
	began, ended := make(chan struct{}), make(chan error, 1)
	p := dial(t, protocol.Options{Request: func(ctx context.Context, _ protocol.Request) (any, error) {
		close(began)
		<-ctx.Done()
		ended <- context.Cause(ctx)
		return nil, nil
	}})
	p.send(`{"jsonrpc":"2.0","id":1,"method":"m"}`)
	<-began
	require.NoError(t, p.conn.Close())
	p.conn.Wait()
	require.ErrorIs(t, <-ended, protocol.ErrClosed)
}

func TestManyCallsAtOnceBothWays(t *testing.T) {
	t.Parallel()
	echo := func(_ context.Context, req protocol.Request) (any, error) { return req.Params, nil }
	a, b := pair(t, protocol.Options{Request: echo, QueueBytes: 1000}, protocol.Options{Request: echo, QueueBytes: 1000})
	var all sync.WaitGroup
	for i := range 400 {
		for _, c := range []*protocol.Conn{a, b} {
			all.Go(func() {
				var got int
				if err := c.Call(t.Context(), "echo", i, &got); err != nil || got != i {
					t.Errorf("call %d: %d, %v", i, got, err)
				}
			})
		}
	}
	all.Wait()
}

func FuzzConn(f *testing.F) {
	for _, seed := range []string{
		`{"jsonrpc":"2.0","id":1,"result":{"ok":true}}`, `{"jsonrpc":"2.0","id":1,"method":"m","params":[]}`,
		`{"jsonrpc":"2.0","method":"$/cancel","params":{"id":1}}`, "[]\r\n\n{}\nnull\n\"\u2028\"", `{"jsonrpc":"2.0","id":null,"method":"m"}`,
		`{"jsonrpc":"2.0","id":1,"error":{"code":1e400,"message":[]}}`, "{\"jsonrpc\":\"2.0\",\"id\":\"\xff\",\"method\":\"\xfe\"}",
		`{"jsonrpc":"2.0","id":1,"method":"m","paperclipInvocation":7,"paperclipInvocationId":{}}`, strings.Repeat("x", 3000),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var out bytes.Buffer
		conn := protocol.NewConn(bytes.NewReader(in), &out, protocol.Options{
			MaxLine: 2048, AnswerJunk: true,
			Request: func(_ context.Context, req protocol.Request) (any, error) { return req.Params, nil },
		})
		// The input ends the connection; whatever it was, a call has an end and each line written is one message.
		err := conn.Call(t.Context(), "m", nil, nil)
		conn.Wait()
		if err == nil && !bytes.Contains(in, []byte(`"2.0"`)) {
			t.Fatal("a call succeeded without a reply")
		}
		for line := range bytes.SplitSeq(out.Bytes(), []byte("\n")) {
			if len(line) > 0 && !json.Valid(line) || bytes.ContainsRune(line, '\u2028') {
				t.Fatalf("no message: %q", line)
			}
		}
	})
}

func TestAPeerThatIsToldInTimeSaysWhyItGotNoFurther(t *testing.T) {
	t.Parallel()
	began := make(chan struct{})
	host, _ := pair(t, protocol.Options{}, protocol.Options{Request: func(ctx context.Context, _ protocol.Request) (any, error) {
		close(began)
		<-ctx.Done()
		return nil, errors.New("the image cannot be pulled")
	}})
	enough := make(chan struct{})
	wait := inBackground(func() error { return host.Call(t.Context(), "m", nil, nil, protocol.CancelWhen(enough)) })
	<-began
	close(enough)
	require.ErrorContains(t, wait(), "the image cannot be pulled")
}
