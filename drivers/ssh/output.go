package ssh

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/journal"
)

// follow reads what comes from the command until the channel ends, and closes the command's books.
func (s *process) follow() {
	errs := make(chan struct{})
	go func() {
		defer close(errs)
		s.readStderr()
	}()
	var last *end
	in, err := s.skipNoise(s.ch, &s.chatter)
	spoke := err == nil
	if spoke && s.raw {
		err = s.readRaw(in)
	} else if spoke {
		last, err = s.read(in)
	}
	if err != nil {
		_ = s.ch.Close() // it speaks nonsense, or not at all
	}
	<-errs
	<-s.ch.ended
	s.mu.Lock()
	ending := s.ending
	s.mu.Unlock()
	if ending != "" {
		<-s.brought
	}
	switch {
	case s.told:
	case !spoke && s.ch.end.status:
		s.pool.forget() // the host may have lost the program that it had
		s.tell(&drivers.StartError{
			Stage: "process", Code: "no_shell", Remediation: "give the user a login shell that runs commands, with env and sh in its PATH",
			Err: fmt.Errorf("the account did not start the parent of the command (exit code %d): %q", s.ch.end.code, s.noise()),
		})
	default:
		s.tell(nil) // nobody can say that it did not start: its end is unknown
	}
	s.settle(last)
	close(s.done)
}

// readStderr takes the channel's second stream: the parent's own complaints, or the command's where there is no parent.
func (s *process) readStderr() {
	if !s.raw {
		_, _ = io.Copy(&s.complaints, s.ch.Stderr())
		return
	}
	in, err := s.skipNoise(s.ch.Stderr(), &s.complaints)
	if err != nil {
		if !errors.Is(err, io.EOF) {
			_ = s.ch.Close() // what is not read any more would hold the command up
		}
		return
	}
	copyTo(s.journal, journal.Stderr, in)
}

func copyTo(w *journal.Writer, stream journal.Stream, in io.Reader) {
	buf := make([]byte, 64<<10)
	for {
		n, err := in.Read(buf)
		w.Append(stream, buf[:n])
		if err != nil {
			return
		}
	}
}

// readRaw reads the first line of a launcher and then the command's own output.
func (s *process) readRaw(in io.Reader) error {
	r := bufio.NewReaderSize(in, 64<<10)
	line, err := r.ReadString('\n')
	if err != nil {
		return err
	}
	runs, err := s.readHead(line)
	if runs {
		s.drainRaw()
		copyTo(s.journal, journal.Stdout, r)
	}
	return err
}

// readHead reads what a launcher says before it becomes the command. It reports whether it does.
func (s *process) readHead(line string) (runs bool, err error) {
	kind, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
	if kind == "F" {
		s.tell(startFailed([]byte(strings.ReplaceAll(rest, "\t", "\x00"))))
		return false, nil
	}
	who, _, err := parseProcess([]byte(strings.ReplaceAll(rest, " ", "\x00")))
	if err != nil {
		return false, err
	}
	s.runs(who, drivers.Process{})
	s.tell(nil)
	return true, nil
}

// drainRaw bounds the wait for output after the command's main process has exited.
func (s *process) drainRaw() {
	go func() {
		select {
		case <-s.ch.reported:
		case <-s.ch.ended:
			return
		}
		timer := time.NewTimer(s.spec.drain)
		defer timer.Stop()
		select {
		case <-s.ch.ended:
			return
		case <-timer.C:
		}
		s.mu.Lock()
		s.held = true
		s.mu.Unlock()
		ctx, cancel := context.WithTimeoutCause(context.Background(), endLimit, errors.New("the command's children do not end"))
		defer cancel()
		if s.sweep(ctx, s.Process(), 0) == nil {
			select {
			case <-s.ch.ended:
				return
			case <-time.After(settleLimit):
			}
		}
		_ = s.ch.Close() // what is left cannot be found
	}()
}

// magic precedes the parent's first frame. A login shell may print before.
var magic = []byte("\x00tenure-exec-1\x00")

func (s *process) read(in io.Reader) (*end, error) {
	var last *end
	head := make([]byte, 5)
	var data []byte
	for {
		if _, err := io.ReadFull(in, head); err != nil {
			return last, nil //nolint:nilerr // the end of the channel; what it means depends on what was said before
		}
		n := binary.BigEndian.Uint32(head[1:])
		if n > maxFrame {
			return last, fmt.Errorf("a frame of %d bytes", n)
		}
		if uint32(cap(data)) < n {
			data = make([]byte, n)
		}
		data = data[:n]
		if _, err := io.ReadFull(in, data); err != nil {
			return last, nil //nolint:nilerr // as above
		}
		switch head[0] {
		case '1':
			s.journal.Append(journal.Stdout, data)
		case '2':
			s.journal.Append(journal.Stderr, data)
		case 'A':
			if len(data) == 4 {
				select {
				case s.credit <- int(binary.BigEndian.Uint32(data)):
				case <-s.done:
				}
			}
		case 'S':
			who, parent, err := parseProcess(data)
			if err != nil {
				return last, err
			}
			s.runs(who, parent)
			s.tell(nil)
		case 'F':
			s.tell(startFailed(data))
		case 'E':
			said, err := parseEnd(data)
			if err != nil {
				return nil, err
			}
			last = said
		}
	}
}

// skipNoise returns what comes after the magic, and gives what comes before to noise.
func (s *process) skipNoise(from io.Reader, noise io.Writer) (io.Reader, error) {
	var seen []byte
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		seen = append(seen, buf[:n]...)
		if before, after, ok := bytes.Cut(seen, magic); ok {
			_, _ = noise.Write(before)
			return io.MultiReader(bytes.NewReader(after), from), nil
		}
		if err == nil && len(seen) > maxNoise {
			err = errors.New("the login shell does not stop to print")
		}
		if err != nil {
			_, _ = noise.Write(seen)
			return nil, err
		}
	}
}

// noise is what the account said instead of starting the command. An account that sends back what it is sent begins with
// a launcher of ours, which is longer than what is kept, so that none of the command's secrets is in it.
func (s *process) noise() string {
	return strings.TrimSpace(s.complaints.b.String() + "\n" + s.chatter.b.String())
}
