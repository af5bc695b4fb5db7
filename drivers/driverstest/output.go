package driverstest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/journal"
)

func testOutput(t *testing.T, f Features) {
	t.Run("a large output is complete and its exit code true", func(t *testing.T) {
		t.Parallel()
		r := Acquire(t, f)
		e, err := r.Start(drivers.ExecRequest{Argv: []string{
			"sh", "-c", fmt.Sprintf(`head -c %d /dev/zero | tr '\0' x; echo err >&2; exit 3`, f.OutputBytes),
		}})
		require.NoError(t, err)
		result, err := e.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, drivers.ExecExited, result.End)
		require.Equal(t, 3, result.ExitCode)
		require.Equal(t, drivers.OutputComplete, result.Output.State)
		require.Equal(t, f.OutputBytes, result.Output.Stdout.Bytes)
		require.Equal(t, sealOf([]byte("err\n")), result.Output.Stderr)

		j, err := journal.Open(e.JournalDir, 0)
		require.NoError(t, err)
		defer j.Close()
		h, read := sha256.New(), int64(0)
		for {
			frame, err := j.Follow(t.Context())
			if err != nil {
				break
			}
			if frame.Stream == journal.Stdout {
				h.Write(frame.Data)
				read += int64(len(frame.Data))
			}
		}
		require.Equal(t, f.OutputBytes, read)
		require.Equal(t, result.Output.Stdout.SHA256, hex.EncodeToString(h.Sum(nil)))
		x := sha256.New()
		chunk := bytes.Repeat([]byte("x"), 1<<16)
		for left := f.OutputBytes; left > 0; left -= int64(len(chunk)) {
			x.Write(chunk[:min(left, int64(len(chunk)))])
		}
		require.Equal(t, hex.EncodeToString(x.Sum(nil)), result.Output.Stdout.SHA256)
	})
	t.Run("no short output is ever lost", func(t *testing.T) {
		t.Parallel()
		r := Acquire(t, f)
		const abreast = 4
		empty := make(chan string, f.Repeats)
		slots := make(chan struct{}, abreast)
		for range f.Repeats {
			slots <- struct{}{}
			go func() {
				defer func() { <-slots }()
				e, err := r.Start(drivers.ExecRequest{Argv: []string{"echo", "hi"}})
				if err != nil {
					empty <- err.Error()
					return
				}
				result, err := e.Wait(t.Context())
				if err != nil || result.Output.Stdout != sealOf([]byte("hi\n")) || result.ExitCode != 0 {
					empty <- fmt.Sprintf("%+v, %v", result, err)
					return
				}
				empty <- ""
			}()
		}
		for range f.Repeats {
			require.Empty(t, <-empty)
		}
	})
	t.Run("bytes stay what they are", func(t *testing.T) {
		t.Parallel()
		r := Acquire(t, f)
		require.Equal(t, "x\u20acy", string(r.Sh(`printf 'x\342'; sleep 0.1; printf '\202\254y'`).Stdout))
		require.Equal(t, "half \xe2\x82", string(r.Sh(`printf 'half \342\202'`).Stdout))
		raw := "a\x00b \xed\xa0\xbd \\ud83d \xff \\u0000"
		require.Equal(t, raw, string(r.Run(drivers.ExecRequest{Argv: []string{"cat"}, Stdin: []byte(raw)}).Stdout))
		box := strings.Repeat("\u2500\u2502\u253c", 1<<20/9)
		require.Equal(t, box, string(r.Run(drivers.ExecRequest{Argv: []string{"cat"}, Stdin: []byte(box)}).Stdout))
	})
	t.Run("the two streams never mix", func(t *testing.T) {
		t.Parallel()
		r := Acquire(t, f)
		done := r.Sh(`i=0; while [ $i -lt 300 ]; do printf '\342'; printf E >&2; printf '\202\254'; i=$((i+1)); done`)
		require.Equal(t, strings.Repeat("\u20ac", 300), string(done.Stdout))
		require.Equal(t, strings.Repeat("E", 300), string(done.Stderr))
	})
	t.Run("output is there while the command runs", func(t *testing.T) {
		t.Parallel()
		r := Acquire(t, f)
		e, err := r.Start(drivers.ExecRequest{Argv: []string{"sh", "-c", "echo first; exec sleep 600"}})
		require.NoError(t, err)
		AwaitOutput(t, e, "first")
		require.NoError(t, e.Kill(t.Context(), "seen"))
		require.Equal(t, "first\n", string(r.Finish(e, time.Now()).Stdout))
	})
}
