package protocol_test

import (
	"context"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/plugins/protocol"
)

func TestAnsweredWaitsForTheAnswersThatAreDue(t *testing.T) {
	t.Parallel()
	toA, fromB := io.Pipe()
	toB, fromA := io.Pipe()
	begun, goOn := make(chan struct{}), make(chan struct{})
	a := protocol.NewConn(toA, fromA, protocol.Options{Request: func(context.Context, protocol.Request) (any, error) {
		close(begun)
		<-goOn
		return "done", nil
	}})
	b := protocol.NewConn(toB, fromB, protocol.Options{})
	t.Cleanup(func() { _, _ = a.Close(), b.Close() })
	require.NoError(t, a.Answered(t.Context()), "nothing is due")
	got := make(chan string, 1)
	go func() {
		var result string
		_ = b.Call(t.Context(), "ask", nil, &result)
		got <- result
	}()
	<-begun
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, a.Answered(gone), context.Canceled)
	answered := make(chan error, 1)
	go func() { answered <- a.Answered(t.Context()) }()
	close(goOn)
	require.NoError(t, <-answered)
	require.NoError(t, a.Flush(t.Context()))
	require.NoError(t, a.Close(), "and what is flushed is not lost by closing")
	require.Equal(t, "done", <-got)
}
