package execparent

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenure-dev/tenure/drivers/journal"
)

// output copies the command's two streams into the sink.
type output struct {
	readers [2]*os.File
	writers [2]uintptr
	done    chan struct{} // closed when both streams have ended
}

func openOutput(cred *Credential) (*output, error) {
	o := &output{done: make(chan struct{})}
	for i := range o.readers {
		r, w, err := outputPipe(cred)
		if err != nil {
			return nil, err // the process ends and takes what is open with it
		}
		o.readers[i], o.writers[i] = r, w
	}
	return o, nil
}

// copyTo begins to copy. From now on only the command and its descendants hold the writing ends.
func (o *output) copyTo(w sink) {
	for _, fd := range o.writers {
		_ = unix.Close(int(fd))
	}
	ended := make(chan struct{}, len(o.readers))
	for i, r := range o.readers {
		go func() {
			defer func() { ended <- struct{}{} }()
			buf := make([]byte, 64*1024)
			for {
				n, err := r.Read(buf)
				w.Append(journal.Stream(i+1), buf[:n])
				if err != nil {
					return // the end, or the deadline set by settle
				}
			}
		}()
	}
	go func() {
		for range o.readers {
			<-ended
		}
		close(o.done)
	}()
}

// settle waits for the end of both streams, at most for limit, and then stops reading. It reports whether both ended.
func (o *output) settle(limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-o.done:
		return true
	case <-timer.C:
	}
	for _, r := range o.readers {
		if err := r.SetReadDeadline(time.Unix(1, 0)); err != nil && !errors.Is(err, os.ErrClosed) {
			return false
		}
	}
	<-o.done
	return false
}
