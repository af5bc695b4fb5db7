package client

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/wire"
)

func read(t *testing.T, r io.Reader) (got []wire.Event, failed error) {
	t.Helper()
	readEvents(t.Context(), r, func(e wire.Event, err error) bool {
		if err != nil {
			failed = err
			return false
		}
		got = append(got, e)
		return true
	})
	return got, failed
}

func TestEventsAreReadHoweverTheyAreCut(t *testing.T) {
	t.Parallel()
	const text = "retry: 1000\n\nid: 1\nevent: A\ndata: {\"position\":1}\n\n: alive\n\nid: 2\nevent: B\ndata: {\"position\":2}\n\n"
	for _, r := range []io.Reader{strings.NewReader(text), iotest.OneByteReader(strings.NewReader(text))} {
		got, err := read(t, r)
		require.NoError(t, err)
		require.Len(t, got, 2)
		require.EqualValues(t, 2, got[1].Position)
	}
}

func TestStreamThatIsCutOffIsAnError(t *testing.T) {
	t.Parallel()
	lost := errors.New("reset by peer")
	got, err := read(t, io.MultiReader(strings.NewReader("data: {\"position\":1}\n\ndata: {\"posi"), iotest.ErrReader(lost)))
	require.ErrorIs(t, err, lost)
	require.Len(t, got, 1)
	_, err = read(t, strings.NewReader("data: {\"posi"))
	require.Error(t, err)
}

func TestLineThatIsTooLongIsAnError(t *testing.T) {
	t.Parallel()
	_, err := read(t, strings.NewReader("data: "+strings.Repeat("x", maxLine+128<<10)+"\n"))
	require.Error(t, err)
	long := `{"name":"` + strings.Repeat("x", 300<<10) + `"}`
	got, err := read(t, strings.NewReader("data: "+long+"\n\n"))
	require.NoError(t, err)
	require.Len(t, got[0].Name, 300<<10)
}
