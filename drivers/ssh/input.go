package ssh

import "encoding/binary"

// send writes to the channel. It blocks while nobody reads at the other end.
func (s *process) send(b []byte) error {
	s.sending.Lock()
	defer s.sending.Unlock()
	_, err := s.ch.Write(b)
	return err
}

func frame(kind byte, data []byte) []byte {
	b := binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(data)))
	return append(b, data...)
}

// feed sends the command's stdin, no faster than it is read, so that the parent can always be told to end it. It takes what
// the parent says of that until the command has ended, also over a channel that broke: else nobody would read the rest.
func (s *process) feed(stdin []byte) {
	defer func() {
		for {
			select {
			case <-s.credit:
			case <-s.done:
				return
			}
		}
	}()
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
