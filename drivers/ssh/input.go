package ssh

import (
	"encoding/binary"
)

func (s *process) send(parts ...[]byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range parts {
		if _, err := s.ch.Write(p); err != nil {
			return err
		}
	}
	return nil
}

func frame(kind byte, data []byte) []byte {
	b := binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(data)))
	return append(b, data...)
}

// feed sends the command's stdin, no faster than it is read, so that the parent can always be told to end it.
func (s *process) feed(stdin []byte) {
	window := stdinWindow
	for len(stdin) > 0 {
		n := min(len(stdin), stdinChunk)
		for window < n {
			select {
			case freed := <-s.credit:
				window += freed
			case <-s.done:
				return
			}
		}
		if s.send(frame('D', stdin[:n])) != nil {
			return
		}
		window -= n
		stdin = stdin[n:]
	}
	_ = s.send(frame('C', nil)) // a broken channel is noticed by who reads it
	for {
		select {
		case <-s.credit:
		case <-s.done:
			return
		}
	}
}

// pour sends stdin to a command that has no parent.
func (s *process) pour(stdin []byte) {
	for len(stdin) > 0 {
		n := min(len(stdin), stdinChunk)
		if s.send(stdin[:n]) != nil {
			return // it has ended, or closed its stdin
		}
		stdin = stdin[n:]
	}
	_ = s.ch.CloseWrite()
}

func (s *process) sendFrame(kind byte, data string) error { return s.send(frame(kind, []byte(data))) }
