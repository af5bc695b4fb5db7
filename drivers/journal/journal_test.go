package journal

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tenure-dev/tenure/drivers"
)

func create(t *testing.T, opts Options) (*Writer, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "exec")
	w, err := Create(dir, opts)
	require.NoError(t, err)
	return w, dir
}

// readAll returns the frames from offset to the end of what there is, with data of their own.
func readAll(t *testing.T, dir string, offset int64) []Frame {
	t.Helper()
	r, err := Open(dir, offset)
	require.NoError(t, err)
	defer r.Close()
	var all []Frame
	for {
		f, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err)
		f.Data = bytes.Clone(f.Data)
		all = append(all, f)
	}
}

func joined(frames []Frame) []byte {
	var b []byte
	for _, f := range frames {
		b = append(b, f.Data...)
	}
	return b
}

func sum(b []byte) drivers.StreamSeal {
	h := sha256.Sum256(b)
	return drivers.StreamSeal{Bytes: int64(len(b)), SHA256: hex.EncodeToString(h[:])}
}

func TestAJournalGivesBackWhatWasAppended(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	w, dir := create(t, Options{Now: func() time.Time { return now }})
	w.Append(Stdout, []byte("a\x00b\xff"))
	w.Append(Stderr, []byte("oops"))
	w.Append(Stdout, nil)
	want := []Frame{
		{Stream: Stdout, At: now, Offset: 0, Data: []byte("a\x00b\xff")},
		{Stream: Stderr, At: now, Offset: 4, Data: []byte("oops")},
	}
	require.Empty(t, cmp.Diff(want, readAll(t, dir, 0)))
	_, sealed, err := ReadSeal(dir)
	require.NoError(t, err)
	require.False(t, sealed)

	seal, err := w.Seal(drivers.OutputComplete)
	require.NoError(t, err)
	require.Equal(t, drivers.OutputSeal{
		State: drivers.OutputComplete, Stdout: sum([]byte("a\x00b\xff")), Stderr: sum([]byte("oops")),
	}, seal)
	read, sealed, err := ReadSeal(dir)
	require.NoError(t, err)
	require.True(t, sealed)
	require.Equal(t, seal, read)
	require.Empty(t, cmp.Diff(want, readAll(t, dir, 0)))
}

func TestAReaderStartsAtAnyOffset(t *testing.T) {
	t.Parallel()
	w, dir := create(t, Options{SegmentBytes: 200})
	var want []byte
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range 60 {
		piece := make([]byte, 1+rnd.IntN(90))
		for j := range piece {
			piece[j] = byte(rnd.Uint32())
		}
		w.Append(Stream(1+i%2), piece)
		want = append(want, piece...)
	}
	_, err := w.Seal(drivers.OutputComplete)
	require.NoError(t, err)
	segs, err := segments(dir)
	require.NoError(t, err)
	require.Greater(t, len(segs), 5)
	for offset := range len(want) + 1 {
		frames := readAll(t, dir, int64(offset))
		require.Equal(t, string(want[offset:]), string(joined(frames)), "offset %d", offset)
		if len(frames) > 0 {
			require.Equal(t, int64(offset), frames[0].Offset)
		}
	}
	require.Empty(t, readAll(t, dir, int64(len(want)+10)))
	_, err = Open(dir, -1)
	require.Error(t, err)
}

func TestAReaderDoesNotReadTheSegmentsBeforeItsOffset(t *testing.T) {
	t.Parallel()
	w, dir := create(t, Options{SegmentBytes: 100})
	for range 10 {
		w.Append(Stdout, bytes.Repeat([]byte("x"), 100))
	}
	segs, err := segments(dir)
	require.NoError(t, err)
	for _, s := range segs[:5] {
		require.NoError(t, os.Remove(s.path(dir)))
	}
	require.Len(t, joined(readAll(t, dir, 550)), 450)
}

func TestPiecesLongerThanAFrameAreSplit(t *testing.T) {
	t.Parallel()
	w, dir := create(t, Options{})
	big := bytes.Repeat([]byte("0123456789"), 100_000)
	w.Append(Stdout, big)
	frames := readAll(t, dir, 0)
	require.Len(t, frames, 4)
	require.True(t, bytes.Equal(big, joined(frames)))
	require.True(t, bytes.Equal(big[MaxData+5:], joined(readAll(t, dir, MaxData+5))))
}

func TestFollowWaitsUntilTheJournalIsSealed(t *testing.T) {
	t.Parallel()
	w, dir := create(t, Options{SegmentBytes: 64})
	r, err := Open(dir, 3)
	require.NoError(t, err)
	defer r.Close()
	_, err = r.Next()
	require.ErrorIs(t, err, io.EOF)

	got := make(chan []byte)
	go func() {
		defer close(got)
		for {
			f, err := r.Follow(t.Context())
			if err != nil {
				return
			}
			got <- bytes.Clone(f.Data)
		}
	}()
	w.Append(Stdout, []byte("abcdef"))
	require.Equal(t, "def", string(<-got))
	for range 20 {
		w.Append(Stderr, bytes.Repeat([]byte("z"), 50))
		require.Len(t, <-got, 50)
	}
	_, err = w.Seal(drivers.OutputComplete)
	require.NoError(t, err)
	_, more := <-got
	require.False(t, more)
}

func TestFollowEndsWithItsContext(t *testing.T) {
	t.Parallel()
	_, dir := create(t, Options{})
	r, err := Open(dir, 0)
	require.NoError(t, err)
	defer r.Close()
	cause := errors.New("the client went away")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	_, err = r.Follow(ctx)
	require.ErrorIs(t, err, cause)
}

func TestAReaderKeepsUpWithAWriterOfManySegments(t *testing.T) {
	t.Parallel()
	w, dir := create(t, Options{SegmentBytes: 4096})
	r, err := Open(dir, 0)
	require.NoError(t, err)
	defer r.Close()
	const total = 4 << 20
	done := make(chan drivers.OutputSeal, 1)
	go func() {
		rnd := rand.New(rand.NewPCG(3, 4))
		for sent := 0; sent < total; {
			n := min(1+rnd.IntN(3000), total-sent)
			w.Append(Stdout, bytes.Repeat([]byte{byte(n)}, n))
			sent += n
		}
		seal, _ := w.Seal(drivers.OutputComplete)
		done <- seal
	}()
	h := sha256.New()
	for {
		f, err := r.Follow(t.Context())
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		h.Write(f.Data)
	}
	require.Equal(t, (<-done).Stdout.SHA256, hex.EncodeToString(h.Sum(nil)))
}

func TestATornTailIsTheEndUntilItIsMended(t *testing.T) {
	t.Parallel()
	w, dir := create(t, Options{})
	w.Append(Stdout, []byte("whole"))
	path := segment{ordinal: 1}.path(dir)
	next := appendFrame(nil, Frame{Stream: Stdout, At: time.Unix(1, 0), Offset: 5, Data: []byte("later")})
	for cut := range len(next) {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
		require.NoError(t, err)
		info, err := f.Stat()
		require.NoError(t, err)
		_, err = f.Write(next[:cut])
		require.NoError(t, err)
		r, err := Open(dir, 0)
		require.NoError(t, err)
		frame, err := r.Next()
		require.NoError(t, err)
		require.Equal(t, "whole", string(frame.Data))
		_, err = r.Next()
		require.ErrorIs(t, err, io.EOF)
		// The writer may cut it off and write something else in its place.
		require.NoError(t, f.Truncate(info.Size()))
		_, err = f.Write(next)
		require.NoError(t, err)
		frame, err = r.Next()
		require.NoError(t, err)
		require.Equal(t, "later", string(frame.Data))
		require.NoError(t, f.Truncate(info.Size()))
		require.NoError(t, errors.Join(r.Close(), f.Close()))
	}
}

func TestADamagedSealedJournalIsAnError(t *testing.T) {
	t.Parallel()
	w, dir := create(t, Options{})
	w.Append(Stdout, []byte("hello"))
	w.Append(Stdout, []byte("world"))
	_, err := w.Seal(drivers.OutputComplete)
	require.NoError(t, err)
	path := segment{ordinal: 1}.path(dir)
	b, err := os.ReadFile(path)
	require.NoError(t, err)

	require.NoError(t, os.WriteFile(path, b[:len(b)-3], 0o600))
	r, err := Open(dir, 0)
	require.NoError(t, err)
	defer r.Close()
	_, err = r.Next()
	require.NoError(t, err)
	_, err = r.Follow(t.Context())
	require.ErrorIs(t, err, ErrCorrupt)

	require.NoError(t, os.WriteFile(sealPath(dir), make([]byte, 100), 0o600))
	_, _, err = ReadSeal(dir)
	require.ErrorIs(t, err, ErrCorrupt)
}

func TestOneDirectoryHasOneWriter(t *testing.T) {
	t.Parallel()
	w, dir := create(t, Options{})
	_, err := Create(dir, Options{})
	require.ErrorIs(t, err, fs.ErrExist)
	_, err = Recover(dir)
	require.ErrorIs(t, err, ErrBusy)
	seal, err := w.Seal(drivers.OutputAbandoned)
	require.NoError(t, err)
	_, err = Create(dir, Options{})
	require.ErrorIs(t, err, fs.ErrExist)
	recovered, err := Recover(dir)
	require.NoError(t, err)
	require.Equal(t, seal, recovered)
	_, err = w.Seal(drivers.OutputComplete)
	require.Error(t, err)
	_, err = Recover(filepath.Join(dir, "absent"))
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestTheJournalOfADeadWriterIsSealedAsLost(t *testing.T) {
	t.Parallel()
	w, dir := create(t, Options{})
	w.Append(Stdout, []byte("so far"))
	w.Append(Stderr, []byte("warn"))
	f, err := os.OpenFile(segment{ordinal: 1}.path(dir), os.O_WRONLY|os.O_APPEND, 0)
	require.NoError(t, err)
	_, err = f.Write([]byte("torn"))
	require.NoError(t, errors.Join(err, f.Close()))
	require.NoError(t, w.seal.Close()) // what the kernel does when the writer dies

	seal, err := Recover(dir)
	require.NoError(t, err)
	require.Equal(t, drivers.OutputSeal{
		State: drivers.OutputLost, Stdout: sum([]byte("so far")), Stderr: sum([]byte("warn")),
	}, seal)
	require.Equal(t, "so farwarn", string(joined(readAll(t, dir, 0))))
}

// disk is a segment on a disk that has room for *left bytes.
type disk struct {
	*os.File
	left      *int
	noCutting bool
	err       error
}

func (d *disk) Write(p []byte) (int, error) {
	if len(p) <= *d.left {
		*d.left -= len(p)
		return d.File.Write(p)
	}
	n, err := d.File.Write(p[:*d.left])
	*d.left = 0
	return n, errors.Join(d.err, err)
}

func (d *disk) Truncate(size int64) error {
	if d.noCutting {
		return d.err
	}
	return d.File.Truncate(size)
}

func TestAFullDiskDropsAndCountsAndNeverFails(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name      string
		err       error
		noCutting bool
	}{
		{"no space", unix.ENOSPC, false},
		{"quota", unix.EDQUOT, false},
		{"file too big", unix.EFBIG, false},
		{"cannot cut off", unix.ENOSPC, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			left := headerSize + 10
			w, dir := create(t, Options{open: func(path string) (file, error) {
				f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
				return &disk{File: f, left: &left, noCutting: row.noCutting, err: row.err}, err
			}})
			w.Append(Stdout, []byte("0123456789"))
			require.NoError(t, w.Err())
			left = 7
			w.Append(Stdout, []byte("lost"))
			w.Append(Stderr, []byte("lost too"))
			require.ErrorIs(t, w.Err(), row.err)
			left = 1000
			w.Append(Stderr, []byte("back"))
			left = 0
			w.Append(Stdout, []byte("end"))
			seal, err := w.Seal(drivers.OutputComplete)
			require.NoError(t, err)
			require.Equal(t, drivers.OutputSeal{
				State: drivers.OutputTruncated, Dropped: 15,
				Stdout: sum([]byte("0123456789lostend")), Stderr: sum([]byte("lost tooback")),
			}, seal)

			frames := readAll(t, dir, 0)
			for i := range frames {
				frames[i].At = time.Time{}
			}
			require.Empty(t, cmp.Diff([]Frame{
				{Stream: Stdout, Data: []byte("0123456789")},
				{Stream: Stdout, Offset: 10, Dropped: 4},
				{Stream: Stderr, Offset: 10, Dropped: 8},
				{Stream: Stderr, Offset: 10, Data: []byte("back")},
			}, frames))
		})
	}
}

func FuzzAnyBytesDecodeToAFrameThatEncodesToThemOrToNone(f *testing.F) {
	f.Add(appendFrame(nil, Frame{Stream: Stdout, At: time.Unix(1, 2), Offset: 3, Data: []byte("hello")}))
	f.Add(appendFrame(nil, Frame{Stream: Stderr, At: time.Unix(-1, 2), Offset: 1 << 60, Dropped: 9}))
	f.Add([]byte("short"))
	f.Add(make([]byte, 64))
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, n, err := decodeFrame(b)
		if err != nil {
			require.True(t, errors.Is(err, errShort) || errors.Is(err, errBad))
			return
		}
		require.True(t, bytes.Equal(b[:n], appendFrame(nil, frame)))
		_, _, err = decodeFrame(b[:n-1])
		require.ErrorIs(t, err, errShort)
	})
}

func TestOneWhoPassesOutputOnSealsWithWhatItsReaderSaw(t *testing.T) {
	t.Parallel()
	hash := func(s string) drivers.StreamSeal {
		sum := sha256.Sum256([]byte(s))
		return drivers.StreamSeal{Bytes: int64(len(s)), SHA256: hex.EncodeToString(sum[:])}
	}
	for name, tc := range map[string]struct {
		drop int64
		read drivers.OutputSeal
		want drivers.OutputState
	}{
		"all of it":   {0, drivers.OutputSeal{State: drivers.OutputComplete, Stdout: hash("abc"), Stderr: hash("")}, drivers.OutputComplete},
		"a gap":       {4, drivers.OutputSeal{State: drivers.OutputTruncated, Stdout: hash("abcdefg"), Stderr: hash(""), Dropped: 4}, drivers.OutputTruncated},
		"a lost gap":  {4, drivers.OutputSeal{State: drivers.OutputComplete, Stdout: hash("abcdefg"), Stderr: hash("")}, drivers.OutputTruncated},
		"less":        {0, drivers.OutputSeal{State: drivers.OutputComplete, Stdout: hash("abcd"), Stderr: hash("")}, drivers.OutputLost},
		"other bytes": {0, drivers.OutputSeal{State: drivers.OutputComplete, Stdout: hash("abd"), Stderr: hash("")}, drivers.OutputLost},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, dir := create(t, Options{})
			w.Append(Stdout, []byte("abc"))
			w.Drop(Stdout, tc.drop)
			sealed, err := w.SealAs(tc.read)
			require.NoError(t, err)
			require.Equal(t, tc.want, sealed.State)
			require.Equal(t, tc.drop, sealed.Dropped)
			kept, ok, err := ReadSeal(dir)
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, sealed, kept)
			if tc.want != drivers.OutputLost {
				require.Equal(t, tc.read.Stdout, sealed.Stdout)
			}
		})
	}
}
