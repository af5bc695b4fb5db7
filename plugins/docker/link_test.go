package docker

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func muxed(stream byte, data string) string {
	header := binary.BigEndian.AppendUint32([]byte{stream, 0, 0, 0}, uint32(len(data)))
	return string(header) + data
}

func TestTheParentsOutputsAreToldApart(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var wire strings.Builder
		var stdout, stderr bytes.Buffer
		for range rapid.IntRange(0, 20).Draw(t, "frames") {
			data := rapid.SliceOfN(rapid.Byte(), 0, 5000).Draw(t, "data")
			if rapid.Bool().Draw(t, "is stdout") {
				stdout.Write(data)
				wire.WriteString(muxed(streamStdout, string(data)))
			} else {
				stderr.Write(data)
				wire.WriteString(muxed(streamStderr, string(data)))
			}
		}
		var r io.Reader = strings.NewReader(wire.String())
		if rapid.Bool().Draw(t, "in small pieces") {
			r = iotest.OneByteReader(r)
		}
		d := &demux{r: bufio.NewReader(r)}
		got, err := io.ReadAll(d)
		require.NoError(t, err)
		require.Equal(t, stdout.String(), string(got))
		kept := stderr.Bytes()
		require.Equal(t, string(kept[max(0, len(kept)-maxWords):]), d.Words())
	})
}

func TestAStreamThatBreaksIsNotTakenForItsEnd(t *testing.T) {
	t.Parallel()
	whole := muxed(streamStdout, "abc")
	for name, wire := range map[string]string{
		"within a header": whole + whole[:3], "within data": whole + whole[:10], "within standard error": whole + muxed(streamStderr, "abc")[:9],
		"no frame": whole + "HTTP/1.1 500", "an unknown stream": whole + muxed(9, "x"), "the engine's own error": whole + muxed(streamError, "it broke"),
	} {
		d := &demux{r: bufio.NewReader(strings.NewReader(wire))}
		_, err := io.ReadAll(d)
		require.Error(t, err, name)
		require.NotErrorIs(t, err, io.EOF, name)
	}
	d := &demux{r: bufio.NewReader(strings.NewReader(muxed(streamError, "it broke")))}
	_, err := io.ReadAll(d)
	require.Error(t, err)
	require.Equal(t, "it broke", d.Words())
}

func FuzzDemux(f *testing.F) {
	f.Add([]byte(muxed(streamStdout, "abc") + muxed(streamStderr, "de")))
	f.Fuzz(func(t *testing.T, wire []byte) {
		d := &demux{r: bufio.NewReader(bytes.NewReader(wire))}
		got, _ := io.ReadAll(d)
		require.LessOrEqual(t, len(got)+len(d.Words()), len(wire))
	})
}
